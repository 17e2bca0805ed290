-- Limits: how much of a queue may run at once, how fast, and how much may wait.
-- No release had the tables and indexes that are changed here:
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, ban-drop-function, renaming-table, renaming-column, renaming-object, prefer-bigint-over-int, constraint-missing-not-valid

-- What was here so far are pauses; a limit lets something through.
alter table chatsync.queue_limits rename to queue_pauses;
alter table chatsync.queue_pauses rename column limit_id to pause_id;
alter table chatsync.queue_pauses rename constraint scope_has_one_limit to scope_has_one_pause;

create table chatsync.queue_limits (
  limit_id bigint generated always as identity primary key,
  queue text not null,
  kind text not null,
  per text not null,
  tenant_id text,
  inbox_id bigint,
  amount integer not null,
  per_seconds double precision,
  burst integer,
  waiting bigint,
  counted_at timestamptz,
  constraint scope_has_one_limit unique nulls not distinct (queue, kind, per, tenant_id, inbox_id),
  constraint queue_is_plain check (queue ~ '^[a-z][a-z0-9_.-]{0,62}$'),
  constraint kind_is_known check (kind in ('in_flight', 'rate', 'depth')),
  constraint per_is_known check (per in ('queue', 'tenant', 'inbox', 'key')),
  constraint amount_is_positive check (amount > 0),
  constraint rate_has_its_time check (
    (kind = 'rate') = (per_seconds is not null and burst is not null)
    and per_seconds > 0 and per_seconds < 86400 * 366 and burst > 0),
  -- One batch of a key is in flight as it is; and a queue is refused as a whole.
  constraint kind_goes_by_its_scope check (
    (kind <> 'in_flight' or per <> 'key') and (kind <> 'depth' or per = 'queue')),
  constraint exception_is_of_its_scope check (
    (tenant_id is null or per <> 'queue') and (inbox_id is null or per in ('inbox', 'key')))
);
comment on table chatsync.queue_limits is
  'What a queue may do at once: messages in flight, messages in a time, messages that wait.';
comment on column chatsync.queue_limits.per is
  'What is counted apart: the queue as a whole, each tenant, each inbox, each key.';
comment on column chatsync.queue_limits.tenant_id is
  'With inbox_id: whom the limit is for; the narrowest one holds. Null: everybody else.';
comment on column chatsync.queue_limits.amount is
  'Messages: in flight, in per_seconds, or waiting.';
comment on column chatsync.queue_limits.burst is 'How many of a rate may run at once after a rest.';
comment on column chatsync.queue_limits.waiting is 'Of a depth: how many there were at counted_at.';
select chatsync.protect_tenant_table('chatsync.queue_limits');

create table chatsync.limit_buckets (
  queue text not null,
  bucket text not null,
  limit_id bigint not null references chatsync.queue_limits on delete cascade,
  next_at timestamptz not null default '-infinity',
  is_crowded boolean not null default false,
  constraint limit_buckets_pkey primary key (queue, bucket)
) with (fillfactor = 50);
comment on table chatsync.limit_buckets is
  'What limits count apart, where something is known of it: kind/per/value.';
comment on column chatsync.limit_buckets.next_at is
  'Of a rate: when all that was let through would have been, one by one at that rate.';
comment on column chatsync.limit_buckets.is_crowded is 'Something is parked until it has room.';
-- Serves claim() and settle().
create index limit_buckets_crowded_idx on chatsync.limit_buckets (queue) where is_crowded;

-- What waits for room waits in its bucket, and comes back in the order of its rank.
alter table chatsync.lane_turns
  add column parked_by text,
  add constraint bucket_is_of_parked check (parked_by is null or is_parked);
comment on column chatsync.lane_turns.parked_by is 'The bucket that was full; null: a pause.';
drop index chatsync.lane_turns_parked_idx;
-- Serves resume() and admit().
create index lane_turns_parked_idx on chatsync.lane_turns (queue, parked_by, rank, turn) where is_parked;
alter table chatsync.message_queue
  add column parked_by text,
  add constraint bucket_is_of_paused check (parked_by is null or status = 'paused');
comment on column chatsync.message_queue.parked_by is
  'Of a paused message: the bucket that was full; null: a pause.';
drop index chatsync.message_queue_paused_idx;
-- Serves resume() and admit(): messages without a key.
create index message_queue_paused_idx on chatsync.message_queue (
  queue, parked_by, ((scheduled_at at time zone 'UTC') - priority * interval '10 seconds'), id)
  where status = 'paused';

grant select on chatsync.queue_pauses, chatsync.queue_limits, chatsync.limit_buckets
  to chatsync_worker, chatsync_operator, chatsync_reader;
grant select (parked_by) on chatsync.message_queue to chatsync_reader;
grant insert, update, delete on chatsync.limit_buckets to chatsync_worker;
create policy operator_sees_all on chatsync.queue_limits for select to chatsync_operator using (true);
create policy reader_sees_all on chatsync.queue_limits for select to chatsync_reader using (true);

-- Replaced by functions of other signatures.
drop function if exists chatsync.claim_from_lanes(text, bigint, bigint, integer, boolean, boolean);
drop function if exists chatsync.claim_keyless(text, integer, boolean, boolean);
drop function if exists chatsync.look_for_work(text);

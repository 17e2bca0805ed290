-- The queue: messages wait in lanes, one lane per ordering key that has work.

create sequence chatsync.leases cache 1;

create table chatsync.workers (
  worker_id bigint generated always as identity primary key,
  name text not null,
  lease_until timestamptz not null,
  started_at timestamptz not null default chatsync.now()
);
comment on table chatsync.workers is
  'Living worker processes; each also holds a session advisory lock, so that a dead one is known at once.';

create table chatsync.queue_policies (
  queue text primary key,
  when_head_fails text not null default 'block',
  backoff_base_seconds double precision not null default 1,
  backoff_cap_seconds double precision not null default 300,
  constraint queue_is_plain check (queue ~ '^[a-z][a-z0-9_.-]{0,62}$'),
  constraint when_head_fails_is_known check (when_head_fails in ('block', 'skip')),
  constraint backoff_is_positive check (backoff_base_seconds > 0 and backoff_cap_seconds >= backoff_base_seconds)
);
comment on table chatsync.queue_policies is 'How a queue treats a failing message; absent means the defaults.';

create table chatsync.queue_lanes (
  lane text primary key,
  queue text not null,
  tenant_id text not null,
  inbox_id bigint,
  ordering_key text not null,
  is_permanent boolean not null default false
);
comment on table chatsync.queue_lanes is
  'Ordering keys that have work. Rows are made, locked and deleted, never updated.';
comment on column chatsync.queue_lanes.is_permanent is
  'Made with an inbox and kept when empty, so that no producer waits for another to make it.';

create table chatsync.lane_turns (
  turn bigint generated always as identity primary key,
  lane text not null constraint lane_has_one_turn unique,
  queue text not null,
  priority smallint not null,
  ready_at timestamptz not null,
  is_suspect boolean not null default false,
  lease_id bigint,
  worker_id bigint,
  constraint lease_has_owner check ((lease_id is null) = (worker_id is null))
) with (fillfactor = 70);
comment on table chatsync.lane_turns is
  'Whose turn it is: one row exactly while a lane has work. Replaced, not updated, by each settle.';
-- Serves claim(): free lanes by priority, then by how long they have been ready.
create index lane_turns_ready_idx on chatsync.lane_turns (queue, is_suspect, priority desc, ready_at, turn)
  where lease_id is null;
-- Serves next_ready_at().
create index lane_turns_due_idx on chatsync.lane_turns (queue, ready_at) where lease_id is null;
-- Serves settle(), release() and reap().
create index lane_turns_lease_idx on chatsync.lane_turns (lease_id) where lease_id is not null;

create table chatsync.message_queue (
  id bigint generated always as identity primary key,
  queue text not null,
  tenant_id text not null,
  inbox_id bigint,
  message_type text not null,
  correlation_id text not null,
  ordering_key text,
  dedupe_key text,
  payload jsonb,
  body bytea,
  metadata jsonb not null default '{}',
  status text not null default 'pending',
  priority smallint not null default 0,
  retry_count integer not null default 0,
  max_retries integer not null default 5,
  deaths integer not null default 0,
  scheduled_at timestamptz not null default chatsync.now(),
  created_at timestamptz not null default chatsync.now(),
  processed_at timestamptz,
  worker_id bigint,
  lease_id bigint,
  last_error text,
  -- A foreign key to the lane: PostgreSQL itself sees to it that no message is without one.
  lane_key text generated always as (
    case when status <> 'scheduled' then queue || '/' || tenant_id || '/' || ordering_key end
  ) stored references chatsync.queue_lanes (lane),
  constraint queue_is_plain check (queue ~ '^[a-z][a-z0-9_.-]{0,62}$'),
  constraint status_is_known check (status in ('scheduled', 'pending', 'processing', 'retrying', 'paused')),
  constraint ordering_key_is_short check (length(ordering_key) between 1 and 200),
  constraint retries_are_not_negative check (retry_count >= 0 and max_retries >= 0),
  constraint processing_has_lease check ((status = 'processing') = (lease_id is not null)),
  constraint lease_has_owner check ((lease_id is null) = (worker_id is null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on table chatsync.message_queue is 'Work to do. Finished work leaves the table.';
comment on column chatsync.message_queue.body is 'A delivery as it came, byte for byte; may hold what jsonb cannot.';
comment on column chatsync.message_queue.deaths is 'Workers that died holding this message.';
-- Serves enqueue(): a message with the same dedupe key is queued once.
create unique index message_queue_dedupe_idx on chatsync.message_queue (queue, tenant_id, dedupe_key)
  where dedupe_key is not null;
-- Serves claim(): the first messages of a lane; and the foreign key when a lane is deleted.
create index message_queue_lane_idx on chatsync.message_queue (lane_key, id) where lane_key is not null;
-- Serves claim(): messages without a key.
create index message_queue_ready_idx on chatsync.message_queue (queue, priority desc, id)
  where ordering_key is null and status = 'pending' and deaths = 0;
-- Serves claim(): messages that were held by a worker that died, each claimed alone.
create index message_queue_suspect_idx on chatsync.message_queue (queue, id)
  where ordering_key is null and status = 'pending' and deaths > 0;
-- Serves promote() and next_ready_at().
create index message_queue_due_idx on chatsync.message_queue (queue, scheduled_at)
  where status = 'scheduled' or (status = 'retrying' and ordering_key is null);
-- Serves settle(), release() and reap().
create index message_queue_lease_idx on chatsync.message_queue (lease_id) where lease_id is not null;

create table chatsync.failed_messages (
  id bigint generated always as identity primary key,
  original_message_id bigint,
  queue text not null,
  tenant_id text not null,
  inbox_id bigint,
  correlation_id text not null,
  message_type text not null,
  ordering_key text,
  payload bytea,
  summary jsonb,
  error_message text not null,
  failure_count integer not null default 0,
  attempts jsonb not null default '[]',
  metadata jsonb not null default '{}',
  failed_at timestamptz not null default chatsync.now()
);
comment on table chatsync.failed_messages is 'Dead letters: what could not be done, and why.';
comment on column chatsync.failed_messages.summary is 'The payload as jsonb, or null where it is not valid JSON.';
-- Serves the dead letters of a tenant, newest first.
create index failed_messages_recent_idx on chatsync.failed_messages (tenant_id, failed_at desc);

select chatsync.protect_tenant_table('chatsync.queue_lanes');
select chatsync.protect_tenant_table('chatsync.message_queue');
select chatsync.protect_tenant_table('chatsync.failed_messages');

grant select, insert, update, delete on
  chatsync.workers, chatsync.queue_lanes, chatsync.lane_turns, chatsync.message_queue
  to chatsync_worker;
grant select on chatsync.queue_policies to chatsync_worker;
grant select, insert on chatsync.failed_messages to chatsync_worker;
grant usage on sequence chatsync.leases to chatsync_worker;

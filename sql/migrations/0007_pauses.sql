-- Pauses: what must not run for now, by queue, tenant, inbox or key.
-- No release had the indexes that are replaced here:
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, ban-drop-function

create table chatsync.queue_limits (
  limit_id bigint generated always as identity primary key,
  queue text not null,
  tenant_id text,
  inbox_id bigint,
  ordering_key text,
  pause_reason text not null,
  paused_at timestamptz not null default chatsync.now(),
  paused_until timestamptz,
  constraint scope_has_one_limit unique nulls not distinct (queue, tenant_id, inbox_id, ordering_key),
  constraint scope_begins_with_its_tenant
    check (tenant_id is not null or (inbox_id is null and ordering_key is null))
);
comment on table chatsync.queue_limits is
  'What is paused: a queue or, narrower, a tenant, an inbox, a key in it; null means all of them.';
comment on column chatsync.queue_limits.paused_until is 'When it ends by itself; null: when somebody resumes it.';
select chatsync.protect_tenant_table('chatsync.queue_limits');
grant select, insert, update, delete on chatsync.queue_limits to chatsync_worker;

-- A claim that meets a paused lane parks its turn, so that the next claims do not meet it again.
alter table chatsync.lane_turns add column is_parked boolean not null default false;
comment on column chatsync.lane_turns.is_parked is 'Met by a claim while it was paused; resume() brings it back.';
drop index chatsync.lane_turns_ready_idx;
-- Serves claim(): free lanes by priority, then by how long they have been ready.
create index lane_turns_ready_idx on chatsync.lane_turns (queue, is_suspect, priority desc, ready_at, turn)
  where lease_id is null and not is_parked;
drop index chatsync.lane_turns_due_idx;
-- Serves next_ready_at().
create index lane_turns_due_idx on chatsync.lane_turns (queue, ready_at)
  where lease_id is null and not is_parked;
-- Serves resume().
create index lane_turns_parked_idx on chatsync.lane_turns (queue) where is_parked;
-- Serves resume(): messages without a key that a claim met while they were paused.
create index message_queue_paused_idx on chatsync.message_queue (queue, id) where status = 'paused';

-- Replaced by functions of other signatures.
drop function if exists chatsync.claim_from_lanes(text, bigint, bigint, integer, boolean);
drop function if exists chatsync.claim_keyless(text, integer, boolean);
drop function if exists chatsync.look_for_work(text);

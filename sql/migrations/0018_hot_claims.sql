-- A claim of a message with a key changes nothing that an index has, so that the row is rewritten in its
-- place (a heap-only tuple): half the work of a claim was three index entries and a second copy in the log.
-- No release had the columns and indexes that are replaced here:
-- squawk-ignore-file adding-field-with-default, require-concurrent-index-creation
-- squawk-ignore-file require-concurrent-index-deletion

alter table chatsync.message_queue
  add column keyless_status text
    generated always as (case when ordering_key is null then status end) stored,
  add column keyless_lease_id bigint
    generated always as (case when ordering_key is null then lease_id end) stored,
  add column is_later boolean
    generated always as (status = 'scheduled' or (status = 'retrying' and ordering_key is null)) stored;
comment on column chatsync.message_queue.keyless_status is
  'The status, for indexes: of a message with a key they need not know it, since its lane has a turn.';
comment on column chatsync.message_queue.keyless_lease_id is
  'The lease, for an index: that of a message with a key is found by the turn of its lane.';
comment on column chatsync.message_queue.is_later is 'Waits for its own time, and not for its lane''s.';
-- Room beside each row for what a claim makes of it.
alter table chatsync.message_queue set (fillfactor = 50);

drop index chatsync.message_queue_ready_idx;
-- Serves claim(): messages without a key, in the order of lane_turns.rank.
create index message_queue_ready_idx on chatsync.message_queue (
  queue, ((scheduled_at at time zone 'UTC') - priority * interval '10 seconds'), id)
  where keyless_status = 'pending' and deaths = 0;
drop index chatsync.message_queue_suspect_idx;
-- Serves claim(): messages that were held by a worker that died, each claimed alone.
create index message_queue_suspect_idx on chatsync.message_queue (queue, id)
  where keyless_status = 'pending' and deaths > 0;
drop index chatsync.message_queue_due_idx;
-- Serves promote() and next_ready_at().
create index message_queue_due_idx on chatsync.message_queue (queue, scheduled_at) where is_later;
drop index chatsync.message_queue_paused_idx;
-- Serves resume() and admit(): of lanes it is the turn that is parked.
create index message_queue_paused_idx on chatsync.message_queue (
  queue, parked_by, ((scheduled_at at time zone 'UTC') - priority * interval '10 seconds'), id)
  where keyless_status = 'paused';
drop index chatsync.message_queue_lease_idx;
-- Serves leased_messages.
create index message_queue_lease_idx on chatsync.message_queue (keyless_lease_id)
  where keyless_lease_id is not null;

alter table chatsync.lane_turns
  add column first_id bigint,
  add column last_id bigint;
comment on column chatsync.lane_turns.first_id is
  'While it is held: no message of the lane with a lower id is under its lease.';
comment on column chatsync.lane_turns.last_id is
  'While it is held: no message of the lane with a higher id is under its lease.';

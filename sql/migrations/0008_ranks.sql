-- Who comes first: priority is a head start, and not a right to starve others.
-- No release had the indexes that are replaced here:
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, adding-field-with-default, prefer-timestamp-tz

alter table chatsync.lane_turns
  add column is_waiting boolean not null default false,
  -- Times in UTC, since a generated column must not depend on the session's time zone.
  add column rank timestamp
    generated always as ((ready_at at time zone 'UTC') - priority * interval '10 seconds') stored;
comment on column chatsync.lane_turns.is_waiting is 'Ready at a later time; a claim after it puts the lane in line.';
comment on column chatsync.lane_turns.rank is
  'The order of claims: a level of priority is a head start of ten seconds, so that nobody waits for ever.';

drop index chatsync.lane_turns_ready_idx;
-- Serves claim(): all that is in it can run, however many lanes wait for their time.
create index lane_turns_ready_idx on chatsync.lane_turns (queue, is_suspect, rank, turn)
  where lease_id is null and not is_parked and not is_waiting;
drop index chatsync.lane_turns_due_idx;
-- Serves promote() and next_ready_at().
create index lane_turns_due_idx on chatsync.lane_turns (queue, ready_at)
  where lease_id is null and not is_parked and is_waiting;

drop index chatsync.message_queue_ready_idx;
-- Serves claim(): messages without a key, in the order of lane_turns.rank.
create index message_queue_ready_idx on chatsync.message_queue (
  queue, ((scheduled_at at time zone 'UTC') - priority * interval '10 seconds'), id)
  where ordering_key is null and status = 'pending' and deaths = 0;

-- A queue may hold one long lane, and a look at the first of it must not be planned as a look at most of
-- the table: it would walk the primary key.
alter table chatsync.message_queue alter column lane_key set (n_distinct = -1);

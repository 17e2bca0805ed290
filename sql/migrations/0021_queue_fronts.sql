-- A look that walks over hundreds of thousands of dead rows takes tens of milliseconds. Upkeep takes it, and
-- the claims of all workers begin where it saw the front.
-- Ranks are times in UTC without a zone, since an index may know no zone.
-- squawk-ignore-file ban-drop-function, prefer-timestamp-tz

-- Rows are added and removed, never updated, as those of low_waters.
create table chatsync.queue_fronts (
  queue text not null,
  queue_front_id bigint generated always as identity,
  turn_rank timestamp not null,
  message_rank timestamp not null,
  raise_at timestamptz not null,
  valid_until timestamptz not null,
  primary key (queue, queue_front_id)
);
comment on table chatsync.queue_fronts is
  'While many rows are dead: where looks for the work of a queue may begin.';
comment on column chatsync.queue_fronts.turn_rank is 'No free turn has a lower rank, but for what came since.';
comment on column chatsync.queue_fronts.message_rank is 'The same for messages without a key.';
comment on column chatsync.queue_fronts.raise_at is 'Not before then does upkeep look again.';

grant select on chatsync.queue_fronts to chatsync_worker;

-- Replaced by functions of other signatures.
drop function if exists chatsync.remembered_front(text);
drop function if exists chatsync.look_for_work(text);

-- Low waters: where looks may begin. While a transaction stays open, PostgreSQL removes no row that was
-- deleted since, and a look from the front of an index walks over all of them.
-- No release had the tables that are changed here:
-- squawk-ignore-file adding-field-with-default, disallowed-unique-constraint, ban-drop-function
-- squawk-ignore-file ban-drop-constraint, constraint-missing-not-valid

-- Rows are added and removed, never updated, and the newest is read from the end of the key: a row that
-- is updated each second would be the first victim of what it is meant to mend.
create table chatsync.low_waters (
  name text not null,
  low_water_id bigint generated always as identity,
  low bigint not null,
  fence bigint not null,
  candidate bigint not null,
  holders text[] not null,
  raised_at timestamptz not null,
  primary key (name, low_water_id),
  constraint name_is_known check (name in ('messages', 'leases', 'outbox'))
);
comment on table chatsync.low_waters is
  'Of the ids of a sequence: nothing live has one below low; without a row looks begin at the front.';
comment on column chatsync.low_waters.fence is 'All transactions that drew an id below it have ended.';
comment on column chatsync.low_waters.candidate is 'The fence as soon as none of the holders is open any more.';
comment on column chatsync.low_waters.holders is 'Transactions that were open and had drawn an id.';

alter table chatsync.lane_turns add column from_id bigint not null default 0;
comment on column chatsync.lane_turns.from_id is
  'Looks at the lane begin here: no message of it has a lower id but for those in late_entries.';

-- A turn is replaced by every settlement, and each of those that were stands in the unique index.
alter table chatsync.queue_lanes add column life bigint not null default 0;
comment on table chatsync.queue_lanes is
  'Ordering keys that have work. Rows are made, locked and deleted; updated is only life, and seldom.';
comment on column chatsync.queue_lanes.life is
  'Raised now and then while many rows are dead: its turns no longer stand beside all of those that were.';
alter table chatsync.lane_turns add column life bigint not null default 0;
comment on column chatsync.lane_turns.life is 'The life of its lane: raised only by who holds lane and turn.';
alter table chatsync.lane_turns drop constraint lane_has_one_turn;
alter table chatsync.lane_turns add constraint lane_has_one_turn unique (lane, life);

create table chatsync.late_entries (
  lane text not null,
  id bigint not null,
  constraint late_entry_is_noted_once primary key (lane, id)
);
comment on table chatsync.late_entries is
  'Messages that entered their lane long after they got their ids, until the lane is next let go.';

grant select on chatsync.low_waters to chatsync_worker;
grant select, delete on chatsync.late_entries to chatsync_worker;

-- Replaced by functions of other signatures.
drop function if exists chatsync.claim_from_lanes(text, bigint, bigint, integer, boolean, boolean);
drop function if exists chatsync.claim_keyless(text, integer, boolean, boolean);
drop function if exists chatsync.look_for_work(text);

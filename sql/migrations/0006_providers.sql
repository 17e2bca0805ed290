-- What the further kinds of items need: edits, reactions, calls, notices, merged contacts.
-- No release had these tables and functions yet, so nobody waits for an index or misses a function:
-- squawk-ignore-file require-concurrent-index-creation, ban-drop-constraint, constraint-missing-not-valid, ban-drop-function

alter table chatsync.contacts
  add column named_at timestamptz,
  add column numbered_at timestamptz,
  add column profile jsonb not null default '{}';
comment on column chatsync.contacts.named_at is
  'When the name was heard, by the provider''s clock: an older delivery that comes late renames nobody.';
comment on column chatsync.contacts.numbered_at is 'When the contact said that its number changed.';
comment on column chatsync.contacts.profile is
  'What else is known, {name: {value, at}}: username, avatarUrl, preferences.{category}.';

-- Serves merge_contacts(): those that were merged into one that is merged now.
create index contacts_merged_idx on chatsync.contacts (tenant_id, merged_into)
  where merged_into is not null;

alter table chatsync.contact_identities
  drop constraint kind_is_known,
  add constraint kind_is_known
    check (kind in ('phone', 'bsuid', 'parent_bsuid', 'lid', 'group', 'external'));

alter table chatsync.messages
  add column reactions jsonb,
  add column is_placeholder boolean not null default false;
comment on column chatsync.messages.reactions is
  'Who reacted, with which emoji and when; one that was taken back stays with a null emoji.';
comment on column chatsync.messages.is_placeholder is 'Its content comes later under the same provider id.';

alter table chatsync.inboxes
  add column reopen_hours integer not null default 24
    constraint reopen_hours_is_not_negative check (reopen_hours >= 0),
  add column state_reason integer,
  add column qrcode jsonb;
comment on column chatsync.inboxes.reopen_hours is
  'A message within so many hours of the last one reopens a resolved conversation; a later one, or 0, begins anew.';
comment on column chatsync.inboxes.qrcode is 'What a phone must scan to pair, until the connection opens.';
grant select (reopen_hours, state_reason, qrcode) on chatsync.inboxes to chatsync_gateway;
grant update (state, state_reason, qrcode, version) on chatsync.inboxes to chatsync_worker;

-- Serves hold_conversations(): the last conversation of a contact, where none is open.
create index conversations_contact_idx
  on chatsync.conversations (tenant_id, contact_id, inbox_id, conversation_id desc);

-- WhatsApp's clock has whole seconds, so that of two edits the later one cannot be told by its time:
-- what was applied once is not applied again.
create table chatsync.processed_items (
  tenant_id text not null,
  inbox_id bigint not null,
  item_key text not null,
  item_day date not null,
  received_at timestamptz not null default chatsync.now(),
  primary key (tenant_id, inbox_id, item_key, item_day)
) partition by range (item_day);
comment on table chatsync.processed_items is
  'Edits, reactions, deletions and notices that were applied; partitioned by the day of the item''s own time.';
-- What claims to be of a day without a partition: long past, or of a clock that is wrong.
create table chatsync.processed_items_default partition of chatsync.processed_items default;
select chatsync.protect_tenant_table('chatsync.processed_items');

-- Serves join_orphans() and forget_inbound(): what came last, and what waits for too long.
create index orphans_received_idx on chatsync.orphans (received_at);

create table chatsync.inbox_notices (
  tenant_id text not null,
  notice_id bigint generated always as identity,
  inbox_id bigint not null,
  kind text not null,
  title text not null,
  data jsonb not null,
  occurred_at timestamptz not null,
  received_at timestamptz not null default chatsync.now(),
  primary key (tenant_id, notice_id),
  foreign key (tenant_id, inbox_id) references chatsync.inboxes (tenant_id, inbox_id),
  constraint kind_is_known check (kind in ('channel_error', 'history_error', 'account'))
);
comment on table chatsync.inbox_notices is 'What a provider said of an inbox or its account, not of a message.';
-- Serves the notices of an inbox, newest first.
create index inbox_notices_recent_idx on chatsync.inbox_notices (tenant_id, inbox_id, notice_id desc);
select chatsync.protect_tenant_table('chatsync.inbox_notices');

grant select, insert on chatsync.processed_items, chatsync.inbox_notices to chatsync_worker;
grant select on chatsync.inbox_notices to chatsync_gateway;

-- Items name what they are about: a target, an item of their own, a thread that is not the author's.
alter type chatsync.inbound_item add attribute item_id text;
alter type chatsync.inbound_item add attribute thread_key integer;
alter type chatsync.inbound_item add attribute is_placeholder boolean;
alter type chatsync.inbound_item add attribute data jsonb;

-- Replaced by functions of other signatures.
drop function if exists chatsync.apply_inbound(jsonb, jsonb);
drop function if exists chatsync.resolve_contacts(jsonb);
drop function if exists chatsync.hold_provider_ids(chatsync.inbound_item[]);
drop function if exists chatsync.hold_conversations(text[], bigint[], bigint[]);
drop function if exists chatsync.store_messages(chatsync.inbound_item[], jsonb);
drop function if exists chatsync.apply_statuses(chatsync.inbound_item[]);
drop function if exists chatsync.touch_conversations(text[], bigint[]);
drop function if exists chatsync.publish_contacts(text[], bigint[]);
drop function if exists chatsync.settle(bigint, bigint[], jsonb, bigint[]);
drop function if exists chatsync.let_lanes_go(text[]);

-- A row of some tenant's, in what functions return to each other.
create type chatsync.entity as (tenant_id text, id bigint);

-- Bound when it is defined, so that it needs no search_path of its own, and stable all through: so it is
-- inlined. It is the default of columns that are filled thousands of times a second.
create or replace function chatsync.now() returns timestamptz
language sql stable parallel safe
return coalesce(nullif(current_setting('chatsync.now', true), '')::timestamptz, statement_timestamp());
drop function if exists chatsync.publish_messages(text[], bigint[], text[]);
drop function if exists chatsync.publish_new_conversations(text[], bigint[], text[]);
drop function if exists chatsync.publish_touched_conversations(text[], bigint[], text[]);
drop function if exists chatsync.publish_statuses(text[], bigint[], text[]);

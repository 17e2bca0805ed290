-- What the peer keeps: contacts, conversations, messages. Applied to an empty database.

create table inboxes (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  phone_number_id text not null unique
);

create table contacts (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  phone_number text not null,
  name text,
  created_at timestamptz not null default now(),
  unique (tenant_id, phone_number)
);

create table conversations (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  inbox_id bigint not null references inboxes (id),
  contact_id bigint not null references contacts (id),
  status text not null default 'OPEN',
  unread_count integer not null default 0,
  last_message_id bigint,
  last_message_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 70);
-- One open conversation per contact and inbox; finds it, too.
create unique index conversations_one_open_idx
  on conversations (inbox_id, contact_id) where status <> 'RESOLVED';
-- Serves the list of an inbox: the newest first.
create index conversations_recent_idx on conversations (tenant_id, last_message_at desc);

create table messages (
  id bigint generated always as identity primary key,
  tenant_id text not null,
  inbox_id bigint not null references inboxes (id),
  conversation_id bigint not null references conversations (id),
  provider_message_id text not null,
  direction text not null,
  type text not null,
  content text,
  status text not null,
  sent_at timestamptz not null,
  created_at timestamptz not null default now(),
  unique (inbox_id, provider_message_id)
);
-- Serves the messages of a conversation.
create index messages_timeline_idx on messages (conversation_id, sent_at desc, id desc);

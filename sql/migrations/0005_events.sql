-- The numbered log: events are committed to outbox, then stamped into event_log.

create table chatsync.streams (
  tenant_id text primary key,
  epoch text not null default replace(gen_random_uuid()::text, '-', ''),
  head bigint not null default 0,
  trimmed_to bigint not null default 0,
  constraint trimmed_is_behind_head check (trimmed_to between 0 and head)
) with (fillfactor = 50);
comment on table chatsync.streams is 'Where each tenant''s log begins and ends.';
comment on column chatsync.streams.epoch is
  'One life of the log: random and never reused, so that a cursor of another life is simply unknown.';
select chatsync.protect_tenant_table('chatsync.streams');

create table chatsync.cluster_identity (
  is_singleton boolean primary key default true constraint only_one_row check (is_singleton),
  system_identifier bigint not null,
  timeline text not null
);
comment on table chatsync.cluster_identity is
  'The database cluster that stamped last; a restored copy differs and gets new epochs.';

-- Ids follow the order of inserts: cache must stay 1.
create table chatsync.outbox (
  id bigint generated always as identity (cache 1) primary key,
  tenant_id text not null,
  topics text[] not null,
  type text not null,
  data jsonb not null,
  correlation_id text,
  created_at timestamptz not null default chatsync.now(),
  -- stamp() must succeed for all that is accepted here, so event_log has no rule that is not here.
  constraint tenant_id_is_short check (length(tenant_id) between 1 and 63),
  constraint topics_are_few check (cardinality(topics) between 1 and 16),
  constraint topics_are_known check (array_position(topics, null) is null),
  constraint type_is_short check (length(type) between 1 and 100),
  constraint data_is_bounded check (pg_column_size(data) <= 1048576)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table chatsync.outbox is 'Events that are committed and not yet numbered.';
select chatsync.protect_tenant_table('chatsync.outbox');

create table chatsync.event_log (
  tenant_id text not null,
  seq bigint not null,
  topics text[] not null,
  type text not null,
  data jsonb not null,
  correlation_id text,
  created_at timestamptz not null,
  stamped_at timestamptz not null
) partition by range (stamped_at);
comment on table chatsync.event_log is
  'What happened, numbered without holes per tenant; partitioned by the day of stamping.';
-- Serves read_events(). Not unique: the log is partitioned; the stamping lock keeps numbers single.
create index event_log_tenant_seq_idx on chatsync.event_log (tenant_id, seq);
-- Only a clock that leaps past the prepared days fills it.
create table chatsync.event_log_default partition of chatsync.event_log default;
select chatsync.protect_tenant_table('chatsync.event_log');

grant select, insert on chatsync.outbox to chatsync_worker;
grant select on chatsync.streams, chatsync.event_log to chatsync_worker, chatsync_gateway;

-- What became of a message: its failed attempts, an archive of what was done, when dead letters expire.
-- No release had these tables yet, so nobody waits for an index or a column:
-- squawk-ignore-file require-concurrent-index-creation, constraint-missing-not-valid, adding-field-with-default

alter table chatsync.queue_policies
  add column archive_days integer not null default 0,
  add column dead_letter_days integer not null default 90,
  add constraint days_are_few check (archive_days between 0 and 36500 and dead_letter_days between 0 and 36500);
comment on column chatsync.queue_policies.archive_days is
  'Days for which done messages are kept in message_archive; 0: they are not.';
comment on column chatsync.queue_policies.dead_letter_days is 'Days until a dead letter expires; 0: never.';

-- Rows are added and never changed: an array that grows on the message would rewrite it with each attempt.
-- They go with their day, whatever became of the message, so that a success has nothing to clear away.
create table chatsync.failed_attempts (
  message_id bigint not null,
  tenant_id text not null,
  queue text not null,
  correlation_id text not null,
  attempt integer not null,
  worker_id bigint,
  worker text,
  claimed_at timestamptz,
  failed_at timestamptz not null,
  outcome text not null,
  error text,
  constraint outcome_is_known check (outcome in ('failed', 'worker_died'))
) partition by range (failed_at);
comment on table chatsync.failed_attempts is
  'Attempts that failed, one row each; partitioned by the day in UTC on which they did.';
-- Serves dead_letter().
create index failed_attempts_message_idx on chatsync.failed_attempts (message_id);
-- Serves timeline().
create index failed_attempts_correlation_idx on chatsync.failed_attempts (correlation_id);
-- Only a clock that leaps past the prepared days fills it.
create table chatsync.failed_attempts_default partition of chatsync.failed_attempts default;
select chatsync.protect_tenant_table('chatsync.failed_attempts');

create table chatsync.message_archive (
  id bigint not null,
  queue text not null,
  tenant_id text not null,
  inbox_id bigint,
  message_type text not null,
  correlation_id text not null,
  ordering_key text,
  dedupe_key text,
  payload jsonb,
  body bytea,
  metadata jsonb not null,
  priority smallint not null,
  retry_count integer not null,
  last_error text,
  worker_id bigint,
  scheduled_at timestamptz not null,
  created_at timestamptz not null,
  processed_at timestamptz,
  done_at timestamptz not null
) partition by range (done_at);
comment on table chatsync.message_archive is
  'Done messages of queues with archive_days; partitioned by the day in UTC on which they were done.';
-- Serves whoever looks for one message.
create index message_archive_id_idx on chatsync.message_archive (id);
-- Serves timeline().
create index message_archive_correlation_idx on chatsync.message_archive (correlation_id);
-- Only a clock that leaps past the prepared days fills it.
create table chatsync.message_archive_default partition of chatsync.message_archive default;
select chatsync.protect_tenant_table('chatsync.message_archive');

-- Serves expire_dead_letters().
create index failed_messages_expiry_idx on chatsync.failed_messages (queue, failed_at);

grant select, insert on chatsync.failed_attempts, chatsync.message_archive to chatsync_worker;
grant select on chatsync.failed_attempts, chatsync.message_archive to chatsync_operator;
create policy operator_sees_all on chatsync.failed_attempts for select to chatsync_operator using (true);
create policy operator_sees_all on chatsync.message_archive for select to chatsync_operator using (true);

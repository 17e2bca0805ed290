-- as: login
-- Three further roles: who adds work, who repairs the queue, and who looks at it.
-- No release had these tables yet, so nobody waits for an index:
-- squawk-ignore-file require-concurrent-index-creation

do $$
declare
  v_role text;
begin
  -- As in 0001: roles belong to the cluster, and another database may be creating them right now.
  foreach v_role in array array['chatsync_producer', 'chatsync_operator', 'chatsync_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      begin
        execute format('create role %I nologin nosuperuser nobypassrls', v_role);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
    if not pg_catalog.pg_has_role(current_user, v_role, 'member')
      or current_setting('server_version_num')::int >= 160000 then
      begin
        execute format(
          case when current_setting('server_version_num')::int >= 160000
            then 'grant %I to %I with inherit false, set true' else 'grant %I to %I' end,
          v_role, current_user);
      exception when insufficient_privilege or unique_violation or invalid_grant_operation then
        if not pg_catalog.pg_has_role(current_user, v_role, 'member') then
          raise;
        end if;
      end;
    end if;
  end loop;
end
$$;

set local role chatsync_owner;

grant usage on schema chatsync to chatsync_producer, chatsync_operator, chatsync_reader;

-- A producer says what is to be done, and nothing of how far it has come.
grant insert (
  queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, dedupe_key, payload, body,
  metadata, status, priority, max_retries, scheduled_at)
  on chatsync.message_queue to chatsync_producer;
-- For `insert … returning id`.
grant select (id) on chatsync.message_queue to chatsync_producer;
create policy producer_adds on chatsync.message_queue for insert to chatsync_producer
  with check (status in ('pending', 'scheduled'));
create policy producer_sees_all on chatsync.message_queue for select to chatsync_producer using (true);

grant select on
  chatsync.message_queue, chatsync.failed_messages, chatsync.queue_lanes, chatsync.lane_turns,
  chatsync.workers, chatsync.queue_policies, chatsync.queue_limits
  to chatsync_operator;

-- The views look with their reader's rights, who therefore has what they show: no content of messages.
grant select (
  id, queue, tenant_id, inbox_id, ordering_key, lane_key, status, retry_count, deaths, scheduled_at,
  created_at, processed_at, worker_id, lease_id, last_error)
  on chatsync.message_queue to chatsync_reader;
grant select (queue) on chatsync.failed_messages to chatsync_reader;
grant select on
  chatsync.queue_lanes, chatsync.lane_turns, chatsync.workers, chatsync.queue_limits
  to chatsync_reader;

create policy operator_sees_all on chatsync.message_queue for select to chatsync_operator using (true);
create policy operator_sees_all on chatsync.failed_messages for select to chatsync_operator using (true);
create policy operator_sees_all on chatsync.queue_lanes for select to chatsync_operator using (true);
create policy operator_sees_all on chatsync.queue_limits for select to chatsync_operator using (true);
create policy reader_sees_all on chatsync.message_queue for select to chatsync_reader using (true);
create policy reader_sees_all on chatsync.failed_messages for select to chatsync_reader using (true);
create policy reader_sees_all on chatsync.queue_limits for select to chatsync_reader using (true);
create policy reader_sees_all on chatsync.queue_lanes for select to chatsync_reader using (true);

-- What a dead letter needs to go back as it was. That it came as `body` or as `payload` is told by its
-- summary: only a payload has one with the same text.
alter table chatsync.failed_messages
  add column priority smallint not null default 0,
  add column max_retries integer not null default 5;

-- Serves timeline(). Dead letters are few, so that it costs no hot path.
create index failed_messages_correlation_idx on chatsync.failed_messages (correlation_id);

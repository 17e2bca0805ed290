-- A worker in plain SQL, from any language: get_next_queue_message(), then complete() or fail().

-- Called by get_next_queue_message(), and by a session whose work on one message takes longer than five
-- minutes. Registers the session as a worker when it is first called, and renews its lease later on.
create or replace function chatsync.session_worker() returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_worker_id bigint := nullif(current_setting('chatsync.worker_id', true), '')::bigint;
begin
  -- A row that is gone was taken for dead, or was registered by a transaction that was undone.
  if v_worker_id is null or not exists (select from chatsync.workers where worker_id = v_worker_id) then
    v_worker_id := chatsync.register_worker(
      coalesce(nullif(current_setting('application_name'), ''), 'session') || ':' || pg_backend_pid());
    perform set_config('chatsync.worker_id', v_worker_id::text, false);
  end if;
  -- Nobody beats the heart of such a session while it works. When its connection ends, its lock goes and
  -- its work is free at once; the lease is for a session that hangs.
  update chatsync.workers set lease_until = chatsync.now() + interval '5 minutes'
  where worker_id = v_worker_id;
  return v_worker_id;
end
$$;

-- Leases the next message of a queue and returns it, or no row. Without p_worker_id the session is the
-- worker; with one, its holder sees to the heartbeat. In a transaction of its own: one that is undone would
-- charge no attempt, however often. Raises CS003 outside READ COMMITTED.
create or replace function chatsync.get_next_queue_message(
  p_queue text, p_worker_id bigint default null
) returns setof chatsync.message_queue
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_worker_id bigint := coalesce(p_worker_id, chatsync.session_worker());
begin
  return query select * from chatsync.claim(p_queue, v_worker_id, 1);
  if found then
    return;
  end if;
  -- There may be nobody else to free what dead workers held.
  if chatsync.reap() > 0 then
    return query select * from chatsync.claim(p_queue, v_worker_id, 1);
  end if;
end
$$;

-- Called when a message is done, best in the transaction of what was done. Raises CS001 when it is no longer
-- held under this lease: the transaction fails, and what it did is undone.
create or replace function chatsync.complete(p_id bigint, p_lease_id bigint) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.settle_some(p_lease_id, array[p_id])
$$;

-- Called when a message could not be done, in a transaction of its own. It is tried again, after p_retry_after
-- or the queue's backoff; out of attempts or permanent, it becomes a dead letter. Raises CS001 as complete().
create or replace function chatsync.fail(
  p_id bigint, p_lease_id bigint, p_error text, p_retry_after interval default null,
  p_is_permanent boolean default false
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.settle_some(p_lease_id, '{}', jsonb_build_array(jsonb_build_object(
    'id', p_id,
    'error', coalesce(p_error, 'no reason was given'),
    'isPermanent', coalesce(p_is_permanent, false),
    'retryAfterSeconds', extract(epoch from p_retry_after))))
$$;

-- Called instead of fail() when not the message but its inbox must rest, because its token expired or its
-- provider throttles it: gives it back without charging the attempt, and pauses the inbox, or what p_scope
-- names: 'queue', 'tenant', 'inbox' or 'key'. Without p_for until somebody resumes it. Raises CS001.
create or replace function chatsync.rest(
  p_id bigint, p_lease_id bigint, p_reason text, p_for interval default null,
  p_scope text default 'inbox'
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.pause_for_message(
    m.queue, m.tenant_id, m.inbox_id, m.ordering_key, p_scope, p_reason, p_for)
  from chatsync.message_queue m
  where m.id = p_id and m.lease_id = p_lease_id;
  perform chatsync.settle_some(p_lease_id, '{}', '[]', array[p_id]);
end
$$;

-- Called by rest() and by workers. A scope that the message does not have is its tenant's.
create or replace function chatsync.pause_for_message(
  p_queue text, p_tenant_id text, p_inbox_id bigint, p_ordering_key text, p_scope text, p_reason text,
  p_for interval default null
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_scope not in ('queue', 'tenant', 'inbox', 'key') then
    raise exception 'a scope is queue, tenant, inbox or key, not %', p_scope using errcode = '22023';
  end if;
  perform chatsync.pause_at_least(
    p_queue,
    case when p_scope <> 'queue' then p_tenant_id end,
    case when p_scope = 'inbox' then p_inbox_id end,
    case when p_scope = 'key' then p_ordering_key end,
    p_reason, chatsync.now() + p_for);
end
$$;

grant execute on function
  chatsync.rest(bigint, bigint, text, interval, text),
  chatsync.pause_for_message(text, text, bigint, text, text, text, interval),
  chatsync.session_worker(),
  chatsync.get_next_queue_message(text, bigint),
  chatsync.complete(bigint, bigint),
  chatsync.fail(bigint, bigint, text, interval, boolean)
to chatsync_worker;

-- What became of messages: failed attempts, and an archive of what was done. Both are only added to, and go
-- by the day.

-- Called by settle_failed() and reap(), before they change the messages. Writes one row for each attempt that
-- failed: p_failed holds {id, error} objects of messages under a lease.
create or replace function chatsync.note_attempts(p_failed jsonb, p_outcome text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  insert into chatsync.failed_attempts (
    message_id, tenant_id, queue, correlation_id, attempt, worker_id, worker, claimed_at, failed_at,
    outcome, error)
  select m.id, m.tenant_id, m.queue, m.correlation_id, m.retry_count, m.worker_id, w.name,
    m.processed_at, chatsync.now(), p_outcome, f.error
  from jsonb_to_recordset(p_failed) as f (id bigint, error text)
  join chatsync.message_queue m on m.id = f.id and m.lease_id is not null
  left join chatsync.workers w on w.worker_id = m.worker_id;
end
$$;

-- Called by dead_letter(): how a message failed, oldest first. Of many attempts the last hundred, so that a
-- dead letter stays small. In plpgsql, which keeps the plan: to make one for all days takes longer than to
-- look into them.
create or replace function chatsync.attempts_of(p_message_id bigint) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'attempt', a.attempt, 'workerId', a.worker_id, 'worker', a.worker,
      'claimedAt', chatsync.wire_time(a.claimed_at), 'failedAt', chatsync.wire_time(a.failed_at),
      'outcome', a.outcome, 'error', a.error) order by a.failed_at, a.attempt), '[]')
    from (
      select *
      from chatsync.failed_attempts
      where message_id = p_message_id
      order by failed_at desc, attempt desc
      limit 100
    ) as a);
end
$$;

-- Called by settle() when the queue has an archive. Returns how many were held under this lease.
create or replace function chatsync.archive_done(p_lease_id bigint, p_done bigint[]) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_done integer;
begin
  with deleted as (
    delete from chatsync.message_queue
    where id = any (p_done) and lease_id = p_lease_id
    returning *
  ),
  archived as (
    insert into chatsync.message_archive (
      id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, dedupe_key, payload,
      body, metadata, priority, retry_count, last_error, worker_id, scheduled_at, created_at,
      processed_at, done_at)
    select d.id, d.queue, d.tenant_id, d.inbox_id, d.message_type, d.correlation_id, d.ordering_key,
      d.dedupe_key, d.payload, d.body, d.metadata, d.priority, d.retry_count, d.last_error, d.worker_id,
      d.scheduled_at, d.created_at, d.processed_at, chatsync.now()
    from deleted d
  )
  select count(*) into v_done from deleted;
  return v_done;
end
$$;

-- Called by prepare_partitions(): the partitions of the coming days, in UTC, of a table whose p_column is
-- a time. What came for a day that had none is moved from the default partition.
-- Lock order: tables in the order of prepare_partitions(), then the default partition.
create or replace function chatsync.prepare_days(p_table text, p_column text, p_days integer) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
  v_day date;
  v_name text;
begin
  for v_day in
    select d::date
    from generate_series(chatsync.now()::date, chatsync.now()::date + p_days, interval '1 day') as d
    where to_regclass('chatsync.' || p_table || '_' || to_char(d, 'YYYYMMDD')) is null
  loop
    perform pg_advisory_xact_lock(x'63735f6461797300'::bigint);
    v_name := p_table || '_' || to_char(v_day, 'YYYYMMDD');
    -- Another process may have been here while this one waited.
    continue when to_regclass('chatsync.' || v_name) is not null;
    -- Nobody may add a row of that day between the move and the attachment.
    execute format('lock table chatsync.%I in access exclusive mode', p_table || '_default');
    execute format(
      'create table chatsync.%I (like chatsync.%I including defaults including constraints)', v_name, p_table);
    execute format(
      'with moved as (delete from chatsync.%I where %I >= %L and %I < %L returning *)'
      ' insert into chatsync.%I select * from moved',
      p_table || '_default', p_column, v_day::timestamptz, p_column, (v_day + 1)::timestamptz, v_name);
    execute format(
      'alter table chatsync.%I attach partition chatsync.%I for values from (%L) to (%L)',
      p_table, v_name, v_day::timestamptz, (v_day + 1)::timestamptz);
  end loop;
end
$$;

-- Called hourly by workers. Drops the days of attempts that are older than p_attempt_days, and those of the
-- archive that are older than any queue's archive_days. Gives up soon while somebody reads; call it again.
create or replace function chatsync.drop_history(p_attempt_days integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '500ms'
as $$
declare
  v_attempts_before date := chatsync.now()::date - p_attempt_days;
  -- A day has messages of all queues: the longest keeps it.
  v_archive_before date := chatsync.now()::date - (
    select coalesce(max(archive_days), 0) from chatsync.queue_policies);
begin
  delete from chatsync.failed_attempts_default where failed_at < v_attempts_before;
  delete from chatsync.message_archive_default where done_at < v_archive_before;
  return chatsync.drop_days('failed_attempts', v_attempts_before)
    + chatsync.drop_days('message_archive', v_archive_before);
end
$$;

grant execute on function
  chatsync.note_attempts(jsonb, text),
  chatsync.attempts_of(bigint),
  chatsync.archive_done(bigint, bigint[]),
  chatsync.drop_history(integer)
to chatsync_worker;

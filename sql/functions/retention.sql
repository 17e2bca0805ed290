-- How long the log is kept, and how a restored database says so.

-- Called by `migrate` and hourly by workers: the partitions of the coming days, in UTC. What came
-- for a day that had none is moved from the default partition. Attaching locks that one, so it gives
-- up soon when a reader is in the way, rather than hold the stamping lock; call it again.
-- Lock order: the processed items, the attempts, the archive, then the stamping lock.
create or replace function chatsync.prepare_partitions(p_days integer default 5) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '500ms'
as $$
declare
  v_day date;
  v_name text;
begin
  begin
    perform chatsync.prepare_processed_items(p_days);
  exception when lock_not_available then
    null; -- There are days to spare, and the log is not to wait for it.
  end;
  begin
    perform chatsync.prepare_days('failed_attempts', 'failed_at', p_days);
    perform chatsync.prepare_days('message_archive', 'done_at', p_days);
  exception when lock_not_available then
    null;
  end;
  for v_day in
    select d::date
    from generate_series(chatsync.now()::date, chatsync.now()::date + p_days, interval '1 day') as d
    where to_regclass('chatsync.event_log_' || to_char(d, 'YYYYMMDD')) is null
  loop
    perform pg_advisory_xact_lock(chatsync.stamping_lock());
    v_name := 'event_log_' || to_char(v_day, 'YYYYMMDD');
    -- Another process may have been here while this one waited.
    continue when to_regclass('chatsync.' || v_name) is not null;
    execute format('create table chatsync.%I (like chatsync.event_log including defaults)', v_name);
    execute format(
      'with moved as (delete from chatsync.event_log_default'
      ' where stamped_at >= %L and stamped_at < %L returning *)'
      ' insert into chatsync.%I select * from moved',
      v_day::timestamptz, (v_day + 1)::timestamptz, v_name);
    execute format(
      'alter table chatsync.event_log attach partition chatsync.%I for values from (%L) to (%L)',
      v_name, v_day::timestamptz, (v_day + 1)::timestamptz);
  end loop;
end
$$;

-- Says how far each log will reach once the days before p_before are dropped. Commit, then call
-- drop_partitions(): readers must know before the events are gone. Raises CS004 while the
-- stamping lock is held; try again.
create or replace function chatsync.trim_streams(p_before date) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
begin
  if not pg_try_advisory_xact_lock(chatsync.stamping_lock()) then
    raise exception 'the log is being stamped' using errcode = 'CS004';
  end if;
  -- No event is above its head, which nobody moves while this holds the lock.
  update chatsync.streams s
  set trimmed_to = greatest(s.trimmed_to, t.last_seq)
  from (
    select tenant_id, max(seq) as last_seq
    from chatsync.event_log
    where stamped_at < p_before::timestamptz
    group by tenant_id
  ) as t
  where s.tenant_id = t.tenant_id and s.trimmed_to < t.last_seq;
end
$$;

-- Drops the log's partitions of the days before p_before, after trim_streams() committed.
create or replace function chatsync.drop_partitions(p_before date) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '2s'
as $$
declare
  v_dropped integer := chatsync.drop_days('event_log', p_before);
begin
  delete from chatsync.event_log_default where stamped_at < p_before::timestamptz;
  return v_dropped;
end
$$;

-- Called by functions of the owner. Drops the daily partitions of a table before a day.
create or replace function chatsync.drop_days(p_table text, p_before date) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_dropped integer := 0;
begin
  for v_name in
    select c.relname
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = ('chatsync.' || p_table)::regclass
      and c.relname ~ '_\d{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < p_before
    order by c.relname
  loop
    execute format('drop table chatsync.%I', v_name);
    v_dropped := v_dropped + 1;
  end loop;
  return v_dropped;
end
$$;

-- Called by `chatsync epoch new` after a restore that PostgreSQL cannot tell from a restart, such as
-- a disk snapshot: every cursor that was given out becomes unknown. Waits for the stamping lock.
create or replace function chatsync.open_epochs() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_opened integer;
begin
  perform pg_advisory_xact_lock(chatsync.stamping_lock());
  update chatsync.streams set epoch = replace(gen_random_uuid()::text, '-', '');
  get diagnostics v_opened = row_count;
  return v_opened;
end
$$;

grant execute on function
  chatsync.prepare_partitions(integer),
  chatsync.trim_streams(date),
  chatsync.drop_partitions(date),
  chatsync.open_epochs()
to chatsync_worker;

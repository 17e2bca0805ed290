-- How long it is remembered what was applied, what waits for its message, and what providers said.

-- Called by prepare_partitions(): the partitions of the days that items may be of, in UTC. An item of
-- an older day, or of a clock that is wrong, goes to the default partition; what is there of a day
-- that gets a partition is moved. Lock order: days, then the default partition.
create or replace function chatsync.prepare_processed_items(p_days integer) returns void
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
    from generate_series(
      chatsync.now()::date - 8, chatsync.now()::date + p_days, interval '1 day') as d
    where to_regclass('chatsync.processed_items_' || to_char(d, 'YYYYMMDD')) is null
  loop
    perform pg_advisory_xact_lock(x'63735f6974656d73'::bigint);
    v_name := 'processed_items_' || to_char(v_day, 'YYYYMMDD');
    -- Another process may have been here while this one waited.
    continue when to_regclass('chatsync.' || v_name) is not null;
    -- Nobody may add a row of that day between the move and the attachment.
    lock table chatsync.processed_items_default in access exclusive mode;
    execute format('create table chatsync.%I (like chatsync.processed_items including defaults)', v_name);
    execute format(
      'with moved as (delete from chatsync.processed_items_default where item_day = %L returning *)'
      ' insert into chatsync.%I select * from moved',
      v_day, v_name);
    execute format(
      'alter table chatsync.processed_items attach partition chatsync.%I for values from (%L) to (%L)',
      v_name, v_day, v_day + 1);
  end loop;
end
$$;

-- Called hourly by workers. Drops the days of items that no provider sends again: Meta tries for a week.
-- Gives up soon when a batch is being applied; call it again.
create or replace function chatsync.drop_processed_items(p_days integer default 8) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '2s'
as $$
begin
  return chatsync.drop_days('processed_items', chatsync.now()::date - p_days);
end
$$;

-- Called hourly by workers. Deletes what was processed of days without a partition, what waited in vain
-- for its message, and old notices. Returns how many rows.
create or replace function chatsync.forget_inbound(
  p_days integer default 8, p_notice_days integer default 90
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_before timestamptz := chatsync.now() - make_interval(days => p_days);
  v_deleted integer;
  v_forgotten integer := 0;
begin
  delete from chatsync.processed_items_default where received_at < v_before;
  get diagnostics v_deleted = row_count;
  v_forgotten := v_forgotten + v_deleted;
  delete from chatsync.orphans where received_at < v_before;
  get diagnostics v_deleted = row_count;
  v_forgotten := v_forgotten + v_deleted;
  delete from chatsync.inbox_notices
  where received_at < chatsync.now() - make_interval(days => p_notice_days);
  get diagnostics v_deleted = row_count;
  return v_forgotten + v_deleted;
end
$$;

grant execute on function
  chatsync.drop_processed_items(integer),
  chatsync.forget_inbound(integer, integer)
to chatsync_worker;

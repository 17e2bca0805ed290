-- What the planner knows of tables that grow faster than autovacuum looks.

-- Called by each worker, each second at first: statistics for tables that outgrew those they have.
-- Autovacuum looks once a minute; until then a burst into a new database would run on plans that were
-- made for empty tables. Waits for nobody. Returns how many tables it looked at.
create or replace function chatsync.refresh_statistics() returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
  v_table record;
  v_refreshed integer := 0;
begin
  if not pg_try_advisory_xact_lock(x'63735f73746174'::bigint) then
    return 0;
  end if;
  for v_table in
    select c.oid::regclass as name
    from pg_class c
    where c.relnamespace = 'chatsync'::regnamespace and c.relkind = 'r'
      and not c.relname in ('message_queue', 'outbox', 'lane_turns', 'queue_lanes')
      and pg_relation_size(c.oid) / 8192 > 4 * c.relpages + 32
  loop
    -- A table that somebody looks after at this moment is left to the next call; what was learned of
    -- the others stays.
    begin
      execute format('analyze %s', v_table.name);
      v_refreshed := v_refreshed + 1;
    exception when lock_not_available then
      null;
    end;
  end loop;
  return v_refreshed;
end
$$;

grant execute on function chatsync.refresh_statistics() to chatsync_worker;

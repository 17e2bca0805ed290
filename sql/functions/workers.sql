-- Living and dead workers. The class of the advisory locks keeps them apart from others' (CWRK).

create or replace function chatsync.worker_lock_class() returns integer
language sql immutable parallel safe
return x'4357524b'::integer;

-- Called once per process on a connection that stays open: the session lock dies with it.
create or replace function chatsync.register_worker(p_name text) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_worker_id bigint;
begin
  insert into chatsync.workers (name, lease_until)
  values (p_name, chatsync.now() + interval '10 seconds')
  returning worker_id into v_worker_id;
  perform pg_advisory_lock(chatsync.worker_lock_class(), v_worker_id::integer);
  return v_worker_id;
end
$$;

-- Called every three seconds on that connection. False: this worker was taken for dead; it must
-- drop what it holds and register anew.
create or replace function chatsync.heartbeat(p_worker_id bigint) returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
  with beaten as (
    update chatsync.workers set lease_until = chatsync.now() + interval '10 seconds'
    where worker_id = p_worker_id
    returning 1
  )
  select exists (select from beaten)
$$;

-- Called at a clean end, after the worker's leases were settled or released.
create or replace function chatsync.unregister_worker(p_worker_id bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from chatsync.workers where worker_id = p_worker_id;
  perform pg_advisory_unlock(chatsync.worker_lock_class(), p_worker_id::integer);
end
$$;

-- Called every second by each worker. Frees what dead workers (lock gone) and silent ones (lease
-- over) held; a message that was alone in a second death is dead-lettered. Returns messages freed.
-- Waits for nobody: what an open transaction is settling is left for the next call.
create or replace function chatsync.reap() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
  v_low bigint := chatsync.low_water('leases');
  v_dead bigint[];
  v_killed bigint[];
  v_turns bigint[];
  v_leased bigint[];
  v_held bigint[];
  v_killers integer;
  v_freed integer;
begin
  -- The view, not a try-lock: a session that holds the lock itself would get it again.
  select coalesce(array_agg(w.worker_id), '{}') into v_dead
  from (
    select worker_id from chatsync.workers
    where lease_until < chatsync.now()
      or not exists (
        select from pg_locks
        where locktype = 'advisory' and classid = chatsync.worker_lock_class()
          and objid = worker_id::oid and objsubid = 2 and granted
          and database = (select oid from pg_database where datname = current_database()))
    order by worker_id
    for update skip locked
  ) as w;
  -- A claim that was under way when its worker was taken for dead is committed under an id that is
  -- gone: nobody will ever settle it.
  v_dead := v_dead || array(
    select worker_id from chatsync.message_queue where keyless_lease_id >= v_low
    union
    select worker_id from chatsync.lane_turns where lease_id >= v_low
    except
    select worker_id from chatsync.workers);
  if cardinality(v_dead) = 0 then
    return 0;
  end if;
  -- In one snapshot: a claim that is committed meanwhile is left as a whole for the next call.
  select
    array(select turn from chatsync.lane_turns where lease_id >= v_low and worker_id = any (v_dead)),
    array(
      select id from chatsync.leased_messages where lease_id >= v_low and worker_id = any (v_dead))
  into v_turns, v_leased;
  select coalesce(array_agg(m.id), '{}') into v_held
  from (
    select id from chatsync.message_queue
    where id = any (v_leased) and lease_id is not null and worker_id = any (v_dead)
    order by id
    for update skip locked
  ) as m;
  select coalesce(array_agg(w.worker_id), '{}') into v_dead
  from unnest(v_dead) as w (worker_id)
  where not exists (
    select from chatsync.leased_messages l
    where l.lease_id >= v_low and l.worker_id = w.worker_id and not l.id = any (v_held));
  -- A restart of PostgreSQL takes every lock, and is no message's fault.
  v_killed := array(
    select worker_id from chatsync.workers
    where worker_id = any (v_dead) and started_at >= pg_postmaster_start_time());
  perform chatsync.note_attempts(
    jsonb_agg(jsonb_build_object('id', id, 'error', 'its worker died')), 'worker_died')
  from chatsync.message_queue
  where id = any (v_held) and worker_id = any (v_killed);
  perform chatsync.dead_letter(k.id, 'killed its worker twice')
  from (
    select min(id) as id
    from chatsync.message_queue
    where id = any (v_held) and worker_id = any (v_killed)
    group by lease_id
    having count(*) = 1 and min(deaths) > 0
  ) as k;
  get diagnostics v_killers = row_count;
  update chatsync.message_queue
  set status = 'pending', lease_id = null, worker_id = null,
    deaths = deaths + (worker_id = any (v_killed))::integer,
    retry_count = retry_count - (not worker_id = any (v_killed))::integer
  where id = any (v_held) and worker_id = any (v_dead);
  get diagnostics v_freed = row_count;
  perform chatsync.let_lanes_go(lanes)
  from (
    select array_agg(lane) as lanes from chatsync.lane_turns
    where turn = any (v_turns) and worker_id = any (v_dead)
  ) as held
  where lanes is not null;
  delete from chatsync.workers where worker_id = any (v_dead);
  return v_killers + v_freed;
end
$$;

grant execute on function
  chatsync.worker_lock_class(),
  chatsync.register_worker(text),
  chatsync.heartbeat(bigint),
  chatsync.unregister_worker(bigint),
  chatsync.reap()
to chatsync_worker;

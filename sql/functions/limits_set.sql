-- An operator sets limits and lifts them. Setting one begins anew: what was let through so far is forgotten.

-- Called by operators: how many messages may run at once, in the queue as a whole, or of each tenant or
-- each inbox; with p_tenant_id or p_inbox_id an exception for that one.
create or replace function chatsync.limit_in_flight(
  p_queue text, p_messages integer, p_per text default 'queue', p_tenant_id text default null,
  p_inbox_id bigint default null
) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.set_limit(p_queue, 'in_flight', p_per, p_tenant_id, p_inbox_id, p_messages)
$$;

-- Called by operators: how many messages may begin in a time, p_burst of them at once after a rest: a tenth
-- of a second's unless it is given.
create or replace function chatsync.limit_rate(
  p_queue text, p_messages integer, p_every interval, p_per text default 'key',
  p_tenant_id text default null, p_inbox_id bigint default null, p_burst integer default null
) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.set_limit(
    p_queue, 'rate', p_per, p_tenant_id, p_inbox_id, p_messages,
    extract(epoch from p_every)::double precision,
    coalesce(p_burst, greatest(
      1, ceil(p_messages / nullif(extract(epoch from p_every), 0) * 0.1))::integer))
$$;

-- Called by operators: how many messages a queue holds before whoever enqueues is refused with CS007. They
-- are counted once a second at most, so that it may be overshot by what a second brings.
create or replace function chatsync.limit_depth(p_queue text, p_messages integer) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.set_limit(p_queue, 'depth', 'queue', null, null, p_messages)
$$;

-- Called by operators. Lifts exactly the limit that was set with these arguments; returns whether there was
-- one.
create or replace function chatsync.lift_limit(
  p_queue text, p_kind text, p_per text default 'queue', p_tenant_id text default null,
  p_inbox_id bigint default null
) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_is_lifted boolean;
begin
  perform chatsync.begin_limits_anew(p_queue, p_kind);
  delete from chatsync.queue_limits l
  where (l.queue, l.kind, l.per) = (p_queue, p_kind, p_per)
    and (l.tenant_id, l.inbox_id) is not distinct from (p_tenant_id, p_inbox_id);
  v_is_lifted := found;
  perform pg_notify('chatsync', '');
  return v_is_lifted;
end
$$;

-- Called by the functions above.
create or replace function chatsync.set_limit(
  p_queue text, p_kind text, p_per text, p_tenant_id text, p_inbox_id bigint, p_amount integer,
  p_per_seconds double precision default null, p_burst integer default null
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.begin_limits_anew(p_queue, p_kind);
  insert into chatsync.queue_limits (
    queue, kind, per, tenant_id, inbox_id, amount, per_seconds, burst)
  values (p_queue, p_kind, p_per, p_tenant_id, p_inbox_id, p_amount, p_per_seconds, p_burst)
  on conflict on constraint scope_has_one_limit do update
  set amount = excluded.amount, per_seconds = excluded.per_seconds, burst = excluded.burst,
    waiting = null, counted_at = null;
  perform pg_notify('chatsync', '');
end
$$;

-- Called before limits change: puts in line what waits for room, which the next claim judges anew.
create or replace function chatsync.begin_limits_anew(p_queue text, p_kind text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  -- Nothing waits for the room of a depth; and whoever has counted it in an open transaction is waited for,
  -- which no claim should have to do.
  if p_kind = 'depth' then
    return;
  end if;
  perform chatsync.lock_limits(p_queue);
  update chatsync.lane_turns t
  set is_waiting = false
  from chatsync.limit_buckets k
  where t.queue = p_queue and t.lease_id is null and t.is_waiting
    and k.queue = p_queue and k.bucket = 'rate/key/' || t.lane;
  update chatsync.lane_turns
  set is_parked = false, parked_by = null
  where queue = p_queue and is_parked and parked_by is not null;
  update chatsync.message_queue
  set status = 'pending', parked_by = null
  where queue = p_queue and keyless_status = 'paused' and parked_by is not null;
  delete from chatsync.limit_buckets where queue = p_queue;
end
$$;

-- Called by whatever enqueues, before it does: raises CS007 where the queue holds as much as it may.
create or replace function chatsync.refuse_if_full(p_queue text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_limit chatsync.queue_limits;
begin
  select * into v_limit from chatsync.queue_limits where queue = p_queue and kind = 'depth';
  if not found then
    return;
  end if;
  if v_limit.counted_at > chatsync.now() - interval '1 second' is not true then
    select count(*) into v_limit.waiting
    from (
      select from chatsync.message_queue where queue = p_queue limit v_limit.amount
    ) as counted;
    -- Whoever is counting in an open transaction keeps nobody waiting: the others count for themselves.
    update chatsync.queue_limits
    set waiting = v_limit.waiting, counted_at = chatsync.now()
    where limit_id = (
      select limit_id from chatsync.queue_limits
      where limit_id = v_limit.limit_id for no key update skip locked);
  end if;
  if v_limit.waiting >= v_limit.amount then
    raise exception 'the queue % is full: it holds % messages', p_queue, v_limit.amount
      using errcode = 'CS007', hint = 'Try again when some of them are done.';
  end if;
end
$$;

-- Serves a plain `insert into message_queue` of whoever does not enqueue by our functions.
create or replace function chatsync.refuse_insert_if_full() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.refuse_if_full(new.queue);
  return new;
end
$$;

create or replace trigger message_queue_has_room
before insert on chatsync.message_queue
for each row
when (current_setting('chatsync.doorbell', true) is distinct from 'off')
execute function chatsync.refuse_insert_if_full();

grant execute on function
  chatsync.limit_in_flight(text, integer, text, text, bigint),
  chatsync.limit_rate(text, integer, interval, text, text, bigint, integer),
  chatsync.limit_depth(text, integer),
  chatsync.lift_limit(text, text, text, text, bigint)
to chatsync_operator, chatsync_worker;
grant execute on function chatsync.refuse_if_full(text) to chatsync_producer, chatsync_worker, chatsync_gateway;

-- The operator's hands in the queue, many messages at a time. They wait for no worker: a lane that is
-- being claimed or settled at that moment is left to the next call.

-- Called with lanes that are to change. Locks their turns, by name: no claim and no settlement is under
-- way in those, until the transaction ends. Returns the lanes that nobody holds, which the caller lets
-- go, and those that a worker holds, which its settlement lets go.
create or replace function chatsync.hold_turns(
  p_lanes text[], out free_lanes text[], out leased_lanes text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  select coalesce(array_agg(t.lane) filter (where t.lease_id is null), '{}'),
    coalesce(array_agg(t.lane) filter (where t.lease_id is not null), '{}')
  into free_lanes, leased_lanes
  from (
    select lane, lease_id from chatsync.lane_turns where lane = any (p_lanes) order by lane
    for update skip locked
  ) as t;
end
$$;

-- Called by move_messages(). The messages that may go, p_limit or as many as their last key has, oldest
-- keys first. Whole keys, since the rest of one would run in one queue beside the first in the other;
-- and no key that a worker is at. What is queued there already under its dedupe key stays.
create or replace function chatsync.movable_messages(
  p_from text, p_to text, p_limit integer, p_tenant_id text
) returns bigint[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with keyed as (
    select min(m.id) as first_id, array_agg(m.id) as ids
    from chatsync.message_queue m
    where m.queue = p_from and (p_tenant_id is null or m.tenant_id = p_tenant_id)
    -- What has no key is a group of its own.
    group by m.tenant_id, m.ordering_key, case when m.ordering_key is null then m.id end
    having bool_and(m.status <> 'processing')
      and not bool_or(m.dedupe_key is not null and exists (
        select from chatsync.message_queue d
        where d.queue = p_to and d.tenant_id = m.tenant_id and d.dedupe_key = m.dedupe_key))
  ),
  counted as (
    select k.first_id, k.ids, sum(cardinality(k.ids)) over (order by k.first_id) as up_to_here
    from keyed k
  )
  select coalesce(array_agg(i.id), '{}')
  from counted c
  cross join unnest(c.ids) as i (id)
  where c.up_to_here - cardinality(c.ids) < p_limit
$$;

-- Moves waiting messages to another queue under their own ids, so that the order of each key stays;
-- returns how many. What is enqueued meanwhile stays: point the producers at the other queue first.
-- Raises CS003 outside READ COMMITTED. Lock order: lanes by queue and name, turns by name, then
-- dedupe keys, as enqueue_many() takes them.
create or replace function chatsync.move_messages(
  p_from text, p_to text, p_limit integer default 1000, p_tenant_id text default null,
  p_dry_run boolean default false
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[] := chatsync.movable_messages(p_from, p_to, p_limit, p_tenant_id);
  v_lanes text[];
  v_held record;
  v_twice bigint[];
  v_id bigint;
  v_ready text[];
  v_moved integer;
begin
  perform chatsync.require_read_committed();
  if p_from = p_to then
    raise exception 'the messages are in % already', p_to using errcode = 'invalid_parameter_value';
  end if;
  if p_dry_run or cardinality(v_ids) = 0 then
    return cardinality(v_ids);
  end if;
  perform chatsync.hold_lanes(
    p_to, array_agg(tenant_id), array_agg(inbox_id), array_agg(ordering_key), array_agg(priority))
  from chatsync.message_queue
  where id = any (v_ids) and lane_key is not null;
  select coalesce(array_agg(distinct lane_key), '{}')
    || coalesce(array_agg(distinct chatsync.lane(p_to, tenant_id, ordering_key)), '{}')
  into v_lanes
  from chatsync.message_queue
  where id = any (v_ids) and lane_key is not null;
  select * into v_held from chatsync.hold_turns(v_lanes);
  loop
    v_twice := array(
      select m.id
      from chatsync.message_queue m
      join chatsync.message_queue d
        on d.queue = p_to and d.tenant_id = m.tenant_id and d.dedupe_key = m.dedupe_key
      where m.queue = p_from);
    -- Keys whose lanes here and there nobody is about to change.
    v_ready := array(
      select l.lane
      from chatsync.queue_lanes l
      where l.lane = any (v_held.free_lanes) and l.queue = p_from
        and chatsync.lane(p_to, l.tenant_id, l.ordering_key)
          = any (v_held.free_lanes || v_held.leased_lanes)
        and not exists (
          select from chatsync.message_queue m where m.lane_key = l.lane and m.id = any (v_twice)));
    v_moved := 0;
    begin
      -- One by one, since nothing else says in which order an update meets the dedupe keys there.
      for v_id in
        select m.id
        from chatsync.message_queue m
        where m.queue = p_from and m.status <> 'processing'
          and case
            -- All that the lane has by now.
            when m.lane_key is not null then m.lane_key = any (v_ready)
            else m.id = any (v_ids) and not m.id = any (v_twice) and (
              m.ordering_key is null
              or chatsync.lane(p_from, m.tenant_id, m.ordering_key) = any (v_ready)
              or not chatsync.lane(p_from, m.tenant_id, m.ordering_key) = any (v_lanes))
          end
        order by m.tenant_id, m.dedupe_key, m.id
        for update skip locked
      loop
        update chatsync.message_queue
        set queue = p_to,
          -- What was paused in the one queue is not in the other; its claims find out.
          status = case when status = 'paused' then 'pending' else status end,
          parked_by = null
        where id = v_id;
        v_moved := v_moved + 1;
      end loop;
      exit;
    exception when unique_violation then
      null; -- Enqueued there meanwhile under the same dedupe key: now it is seen, and stays here.
    end;
  end loop;
  if cardinality(v_held.free_lanes) > 0 then
    perform chatsync.let_lanes_go(v_held.free_lanes);
  end if;
  perform chatsync.ring_hint('queues', array[p_to], null);
  return v_moved;
end
$$;
comment on function chatsync.move_messages is 'Moves waiting messages to another queue, key by key.';

-- Deletes waiting messages for good, oldest first; returns how many. What a worker has stays. Raises
-- CS003 outside READ COMMITTED. Lock order: turns by name, messages by id.
create or replace function chatsync.purge_queue(
  p_queue text, p_tenant_id text default null, p_before timestamptz default null,
  p_limit integer default 10000, p_dry_run boolean default false
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
  v_held record;
  v_purged integer;
begin
  perform chatsync.require_read_committed();
  v_ids := array(
    select id
    from chatsync.message_queue
    where queue = p_queue and status <> 'processing'
      and (p_tenant_id is null or tenant_id = p_tenant_id)
      and (p_before is null or created_at < p_before)
    order by id
    limit p_limit);
  if p_dry_run or cardinality(v_ids) = 0 then
    return cardinality(v_ids);
  end if;
  select * into v_held
  from chatsync.hold_turns(array(
    select distinct lane_key from chatsync.message_queue where id = any (v_ids) and lane_key is not null));
  delete from chatsync.message_queue
  where id in (
    select id
    from chatsync.message_queue
    where id = any (v_ids) and status <> 'processing'
      and (lane_key is null or lane_key = any (v_held.free_lanes || v_held.leased_lanes))
    order by id
    for update skip locked);
  get diagnostics v_purged = row_count;
  if cardinality(v_held.free_lanes) > 0 then
    perform chatsync.let_lanes_go(v_held.free_lanes);
  end if;
  perform chatsync.ring_hint('queues', array[p_queue], null);
  return v_purged;
end
$$;
comment on function chatsync.purge_queue is 'Deletes waiting messages of a queue for good.';

grant execute on function
  chatsync.move_messages(text, text, integer, text, boolean),
  chatsync.purge_queue(text, text, timestamptz, integer, boolean)
to chatsync_operator, chatsync_worker;

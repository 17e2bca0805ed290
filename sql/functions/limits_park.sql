-- What of a claim's candidates fits, and where the rest waits for room.

-- Called by claim_from_lanes() with messages of turns that it has locked, lanes in their order. Returns those
-- that may go, and the lanes that were parked; a lane whose own rate is used up waits for its time instead.
create or replace function chatsync.fit_lanes(
  p_queue text, p_lanes text[], p_ids bigint[], p_claimed bigint[], out ids bigint[], out refused text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_given record;
  v_fit record;
begin
  select array_agg(g.lane order by g.place) as lanes, array_agg(g.tenant_id order by g.place) as tenant_ids,
    array_agg(g.inbox_id order by g.place) as inbox_ids, array_agg(g.n order by g.place) as counts
  into v_given
  from (
    select l.lane, l.place, min(m.tenant_id) as tenant_id, min(m.inbox_id) as inbox_id,
      count(*)::integer as n
    from unnest(p_lanes) with ordinality as l (lane, place)
    join chatsync.message_queue m on m.lane_key = l.lane
    where m.id = any (p_ids)
    group by l.lane, l.place
  ) as g;
  v_fit := chatsync.fit(
    p_queue, v_given.tenant_ids, v_given.inbox_ids, v_given.lanes, v_given.counts, p_claimed);
  select array_agg(m.id) into ids
  from (
    select m.id, row_number() over (partition by m.lane_key order by m.id) as position, a.n
    from unnest(v_given.lanes, v_fit.allowed) as a (lane, n)
    join chatsync.message_queue m on m.lane_key = a.lane
    where m.id = any (p_ids)
  ) as m
  where m.position <= m.n;
  refused := chatsync.put_lanes_aside(p_queue, v_given.lanes, v_fit.buckets, v_fit.limit_ids);
end
$$;

-- Called by claim_from_lanes() with turns that it has locked, before it looks at their messages. Parks those
-- that have no room, as fit_lanes() does, and returns the others, in their order.
create or replace function chatsync.park_full_lanes(p_queue text, p_lanes text[], p_claimed bigint[])
returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_given record;
  v_full record;
  v_refused text[];
begin
  select array_agg(q.lane order by l.place) as lanes, array_agg(q.tenant_id order by l.place) as tenant_ids,
    array_agg(q.inbox_id order by l.place) as inbox_ids
  into v_given
  from unnest(p_lanes) with ordinality as l (lane, place)
  join chatsync.queue_lanes q on q.lane = l.lane;
  select array_agg(v_given.lanes[f.place]) as lanes, array_agg(f.bucket) as buckets,
    array_agg(f.limit_id) as limit_ids
  into v_full
  from chatsync.full_buckets(
    p_queue, v_given.tenant_ids, v_given.inbox_ids, v_given.lanes, p_claimed) as f;
  if v_full.lanes is null then
    return p_lanes;
  end if;
  v_refused := chatsync.put_lanes_aside(p_queue, v_full.lanes, v_full.buckets, v_full.limit_ids);
  return (
    select array_agg(l.lane order by l.place)
    from unnest(p_lanes) with ordinality as l (lane, place)
    where l.lane not in (select r.lane from unnest(v_refused) as r (lane)));
end
$$;

-- Called by fit_lanes() and park_full_lanes(). Parks each lane in the bucket that is full, or lets it wait for
-- its own rate; one with a null bucket stays. Returns those that it moved.
create or replace function chatsync.put_lanes_aside(
  p_queue text, p_lanes text[], p_buckets text[], p_limit_ids bigint[]
) returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_moved text[];
begin
  perform chatsync.crowd(p_queue, p_buckets, p_limit_ids);
  with moved as (
    update chatsync.lane_turns t
    set is_parked = (r.per <> 'key'), parked_by = case when r.per <> 'key' then r.bucket end,
      is_waiting = (r.per = 'key'), ready_at = case when r.per = 'key' then r.opens_at else t.ready_at end
    from (
      select f.lane, f.bucket, l.per, chatsync.rate_opens_at(l, k.next_at) as opens_at
      from unnest(p_lanes, p_buckets, p_limit_ids) as f (lane, bucket, limit_id)
      join chatsync.queue_limits l on l.limit_id = f.limit_id
      left join chatsync.limit_buckets k on k.queue = p_queue and k.bucket = f.bucket
    ) as r
    where t.lane = r.lane
    returning t.lane
  )
  select coalesce(array_agg(lane), '{}') into v_moved from moved;
  return v_moved;
end
$$;

-- Called by claim_keyless() with messages that it has locked, as park_full_lanes() is with turns. Of those
-- that have room it takes the first p_limit and returns what fits of them.
create or replace function chatsync.fit_messages(
  p_queue text, p_ids bigint[], p_limit integer, p_claimed bigint[]
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_given record;
  v_full record;
  v_fit record;
begin
  select * into v_given from chatsync.owners_of(p_ids);
  select array_agg(v_given.ids[f.place]) as ids, array_agg(f.bucket) as buckets,
    array_agg(f.limit_id) as limit_ids
  into v_full
  from chatsync.full_buckets(
    p_queue, v_given.tenant_ids, v_given.inbox_ids, array_fill(null::text, array[cardinality(p_ids)]),
    p_claimed) as f;
  if v_full.ids is not null then
    perform chatsync.put_messages_aside(p_queue, v_full.ids, v_full.buckets, v_full.limit_ids);
    select * into v_given
    from chatsync.owners_of(array(
      select i.id
      from unnest(p_ids) with ordinality as i (id, place)
      where i.id not in (select f.id from unnest(v_full.ids) as f (id))
      order by i.place));
  end if;
  if v_given.ids is null then
    return null;
  end if;
  v_fit := chatsync.fit(
    p_queue, v_given.tenant_ids[:p_limit], v_given.inbox_ids[:p_limit],
    array_fill(null::text, array[least(p_limit, cardinality(v_given.ids))]),
    array_fill(1, array[least(p_limit, cardinality(v_given.ids))]), p_claimed);
  perform chatsync.put_messages_aside(p_queue, v_given.ids[:p_limit], v_fit.buckets, v_fit.limit_ids);
  return (
    select array_agg(f.id order by f.place)
    from unnest(v_given.ids[:p_limit], v_fit.allowed) with ordinality as f (id, n, place)
    where f.n > 0);
end
$$;

-- Called by fit_messages(). Whose the messages are, in their order.
create or replace function chatsync.owners_of(
  p_ids bigint[], out ids bigint[], out tenant_ids text[], out inbox_ids bigint[]
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(m.id order by i.place), array_agg(m.tenant_id order by i.place),
    array_agg(m.inbox_id order by i.place)
  from unnest(p_ids) with ordinality as i (id, place)
  join chatsync.message_queue m on m.id = i.id
$$;

-- Called by fit_messages(), as put_lanes_aside() is with lanes.
create or replace function chatsync.put_messages_aside(
  p_queue text, p_ids bigint[], p_buckets text[], p_limit_ids bigint[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.crowd(p_queue, p_buckets, p_limit_ids);
  update chatsync.message_queue m
  set status = 'paused', parked_by = f.bucket
  from unnest(p_ids, p_buckets) as f (id, bucket)
  where m.id = f.id and f.bucket is not null;
end
$$;

grant execute on function
  chatsync.fit_lanes(text, text[], bigint[], bigint[]),
  chatsync.park_full_lanes(text, text[], bigint[]),
  chatsync.put_lanes_aside(text, text[], text[], bigint[]),
  chatsync.fit_messages(text, bigint[], integer, bigint[]),
  chatsync.owners_of(bigint[]),
  chatsync.put_messages_aside(text, bigint[], text[], bigint[])
to chatsync_worker;

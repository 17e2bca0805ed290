-- Limits. Claims of a queue that has any come one after the other, count what runs, take what fits, and
-- park what does not in the bucket that is full; a claim that finds room in a bucket brings back as much.

-- Called before limits are counted or changed. Ends with the transaction: a claim is a short one.
create or replace function chatsync.lock_limits(p_queue text) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select pg_advisory_xact_lock(chatsync.limit_lock_class(), hashtext(p_queue))
$$;

-- The first of two keys of advisory locks; the second one is the queue's.
create or replace function chatsync.limit_lock_class() returns integer
language sql immutable parallel safe
return x'434c494d'::integer;

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
  perform chatsync.crowd(p_queue, v_fit.buckets, v_fit.limit_ids);
  with moved as (
    update chatsync.lane_turns t
    set is_parked = (r.per <> 'key'), parked_by = case when r.per <> 'key' then r.bucket end,
      is_waiting = (r.per = 'key'), ready_at = case when r.per = 'key' then r.opens_at else t.ready_at end
    from (
      select f.lane, f.bucket, l.per, chatsync.rate_opens_at(l, k.next_at) as opens_at
      from unnest(v_given.lanes, v_fit.buckets, v_fit.limit_ids) as f (lane, bucket, limit_id)
      join chatsync.queue_limits l on l.limit_id = f.limit_id
      left join chatsync.limit_buckets k on k.queue = p_queue and k.bucket = f.bucket
    ) as r
    where t.lane = r.lane
    returning t.lane
  )
  select coalesce(array_agg(lane), '{}') into refused from moved;
end
$$;

-- Called by claim_keyless() with messages that it has locked, in their order, as fit_lanes() is with turns.
create or replace function chatsync.fit_messages(p_queue text, p_ids bigint[], p_claimed bigint[])
returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_given record;
  v_fit record;
begin
  select array_agg(m.id order by i.place) as ids, array_agg(m.tenant_id order by i.place) as tenant_ids,
    array_agg(m.inbox_id order by i.place) as inbox_ids
  into v_given
  from unnest(p_ids) with ordinality as i (id, place)
  join chatsync.message_queue m on m.id = i.id;
  v_fit := chatsync.fit(
    p_queue, v_given.tenant_ids, v_given.inbox_ids,
    array_fill(null::text, array[cardinality(p_ids)]), array_fill(1, array[cardinality(p_ids)]), p_claimed);
  perform chatsync.crowd(p_queue, v_fit.buckets, v_fit.limit_ids);
  update chatsync.message_queue m
  set status = 'paused', parked_by = f.bucket
  from unnest(v_given.ids, v_fit.buckets) as f (id, bucket)
  where m.id = f.id and f.bucket is not null;
  return (
    select array_agg(f.id order by f.place)
    from unnest(v_given.ids, v_fit.allowed) with ordinality as f (id, n, place)
    where f.n > 0);
end
$$;

-- Called before something is parked in buckets: a claim that looks whether they are still needed comes
-- before or after.
create or replace function chatsync.crowd(p_queue text, p_buckets text[], p_limit_ids bigint[]) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.limit_buckets (queue, bucket, limit_id, is_crowded)
  select distinct on (b.bucket) p_queue, b.bucket, b.limit_id, true
  from unnest(p_buckets, p_limit_ids) as b (bucket, limit_id)
  join chatsync.queue_limits l on l.limit_id = b.limit_id
  -- A lane with a rate of its own waits by itself.
  where l.per <> 'key'
  order by b.bucket
  on conflict (queue, bucket) do update set limit_id = excluded.limit_id, is_crowded = true
$$;

-- Called by claims, under the lock of the queue's limits. Brings back what is parked in buckets that have
-- room, as much as fits, first come first.
create or replace function chatsync.admit(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_bucket record;
begin
  for v_bucket in
    select k.bucket,
      case l.kind
        when 'rate' then chatsync.rate_room(l, k.next_at)
        else l.amount - coalesce(f.messages, 0)
      end as room
    from chatsync.limit_buckets k
    join chatsync.queue_limits l on l.limit_id = k.limit_id
    left join lateral chatsync.count_in_flight(
      p_queue, l.per, case l.kind when 'in_flight' then '{}'::bigint[] end) as f
      on l.kind = 'in_flight' and f.value = substr(k.bucket, length(l.kind) + length(l.per) + 3)
    where k.queue = p_queue and k.is_crowded
    order by k.bucket
  loop
    continue when v_bucket.room <= 0;
    update chatsync.lane_turns
    set is_parked = false, parked_by = null
    where turn = any (array(
      select turn from chatsync.lane_turns
      where queue = p_queue and is_parked and parked_by = v_bucket.bucket
      order by rank, turn
      limit v_bucket.room
      for update skip locked));
    update chatsync.message_queue
    set status = 'pending', parked_by = null
    where id = any (array(
      select id from chatsync.message_queue
      where queue = p_queue and status = 'paused' and parked_by = v_bucket.bucket
      order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
      limit v_bucket.room
      for no key update skip locked));
    update chatsync.limit_buckets
    set is_crowded = false
    where queue = p_queue and bucket = v_bucket.bucket
      and not exists (
        select from chatsync.lane_turns
        where queue = p_queue and is_parked and parked_by = v_bucket.bucket)
      and not exists (
        select from chatsync.message_queue
        where queue = p_queue and status = 'paused' and parked_by = v_bucket.bucket);
  end loop;
end
$$;

-- Called by workers now and then: rates that nobody has used for a while are at rest.
create or replace function chatsync.forget_buckets() returns integer
language sql
set search_path = pg_catalog, pg_temp
as $$
  with forgotten as (
    delete from chatsync.limit_buckets k
    where not is_crowded and next_at < chatsync.now() - interval '1 minute'
      and pg_try_advisory_xact_lock(chatsync.limit_lock_class(), hashtext(k.queue))
    returning 1
  )
  select count(*)::integer from forgotten
$$;

grant execute on function
  chatsync.limit_lock_class(),
  chatsync.lock_limits(text),
  chatsync.fit_lanes(text, text[], bigint[], bigint[]),
  chatsync.fit_messages(text, bigint[], bigint[]),
  chatsync.crowd(text, text[], bigint[]),
  chatsync.admit(text),
  chatsync.forget_buckets()
to chatsync_worker;

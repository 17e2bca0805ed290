-- Limits. Claims of a queue that has any come one after the other, count what runs, take what fits, and
-- park what does not in the bucket that is full; a claim that finds room in a bucket brings back as much.
-- Where the queue as a whole has no room nothing is parked: a claim takes as many as have, or none.

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
  where not limit_buckets.is_crowded or limit_buckets.limit_id <> excluded.limit_id
$$;

-- Called by claim() when it has taken what it could: whether more waits for room in the queue as a whole.
create or replace function chatsync.crowd_queue(p_queue text, p_is_crowded boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_is_crowded then
    perform chatsync.crowd(p_queue, array_agg(kind || '/queue/'), array_agg(limit_id))
    from chatsync.queue_limits
    where queue = p_queue and per = 'queue' and kind <> 'depth';
  else
    update chatsync.limit_buckets
    set is_crowded = false
    where queue = p_queue and is_crowded and bucket in ('in_flight/queue/', 'rate/queue/');
  end if;
end
$$;

-- Called by claim(), under the lock of the queue's limits. Brings back what is parked in buckets that have
-- room, first come first: of each as much as fits, of all as much as p_limit messages can be, p_more times
-- as much where the first ones turned out to wait for something else. Returns how much that was.
create or replace function chatsync.admit(p_queue text, p_limit integer, p_more integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
  v_most bigint := p_limit::bigint * p_more;
  v_open record;
  v_rank timestamp;
  v_lanes integer;
  v_messages integer;
begin
  select * into v_open from chatsync.open_buckets(p_queue, greatest(v_most, 50), p_more);
  if v_open.buckets is null then
    return 0;
  end if;
  -- What comes behind all that this claim can take stays where it is.
  select rank into v_rank
  from chatsync.lane_turns
  where queue = p_queue and not is_suspect and lease_id is null and not is_parked and not is_waiting
  order by rank, turn
  offset p_limit limit 1;
  update chatsync.lane_turns
  set is_parked = false, parked_by = null
  where turn = any (array(
    select t.turn
    from chatsync.lane_turns t
    where t.turn = any (array(
      select h.turn
      from unnest(v_open.buckets, v_open.rooms) as b (bucket, room)
      cross join lateral (
        select turn, rank
        from chatsync.lane_turns
        where queue = p_queue and is_parked and parked_by = b.bucket
        order by rank, turn
        limit least(b.room, v_most)
      ) as h
      where h.rank < v_rank is not false
      order by h.rank
      limit v_most))
    for update skip locked));
  get diagnostics v_lanes = row_count;
  select (scheduled_at at time zone 'UTC') - priority * interval '10 seconds' into v_rank
  from chatsync.message_queue
  where queue = p_queue and keyless_status = 'pending' and deaths = 0
  order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
  offset p_limit limit 1;
  update chatsync.message_queue
  set status = 'pending', parked_by = null
  where id = any (array(
    select m.id
    from chatsync.message_queue m
    where m.id = any (array(
      select h.id
      from unnest(v_open.buckets, v_open.rooms) as b (bucket, room)
      cross join lateral (
        select id, (scheduled_at at time zone 'UTC') - priority * interval '10 seconds' as rank
        from chatsync.message_queue
        where queue = p_queue and keyless_status = 'paused' and parked_by = b.bucket
        order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
        limit least(b.room, v_most)
      ) as h
      where h.rank < v_rank is not false
      order by h.rank
      limit v_most))
    for no key update skip locked));
  get diagnostics v_messages = row_count;
  update chatsync.limit_buckets k
  set is_crowded = false
  where k.queue = p_queue and k.bucket = any (v_open.buckets)
    and not exists (
      select from chatsync.lane_turns
      where queue = p_queue and is_parked and parked_by = k.bucket)
    and not exists (
      select from chatsync.message_queue
      where queue = p_queue and keyless_status = 'paused' and parked_by = k.bucket);
  return v_lanes + v_messages;
end
$$;

-- Called by admit(). Crowded buckets that have room, and p_more times how much. Of very many other ones each
-- time: a look into each of a thousand would cost every claim 20 ms.
create or replace function chatsync.open_buckets(
  p_queue text, p_most bigint, p_more integer, out buckets text[], out rooms bigint[]
)
language sql
set search_path = pg_catalog, pg_temp
as $$
  with crowded as materialized (
    select k.bucket, l.kind, l.per, l.amount,
      case l.kind when 'rate' then chatsync.rate_room(l, k.next_at) end as rate_room
    from chatsync.limit_buckets k
    join chatsync.queue_limits l on l.limit_id = k.limit_id
    where k.queue = p_queue and k.is_crowded and l.per <> 'queue'
  ),
  running as materialized (
    select 'in_flight/' || s.per || '/' || f.value as bucket, f.messages
    from (select distinct per from crowded where kind = 'in_flight') as s
    cross join lateral chatsync.count_in_flight(p_queue, s.per, '{}') as f
  ),
  counted as (
    select c.bucket, coalesce(c.rate_room, c.amount - coalesce(r.messages, 0)) as room
    from crowded c
    left join running r on r.bucket = c.bucket
  )
  select array_agg(o.bucket), array_agg(o.room * p_more)
  from (select bucket, room from counted where room > 0 order by random() limit p_most) as o
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
  chatsync.crowd(text, text[], bigint[]),
  chatsync.crowd_queue(text, boolean),
  chatsync.admit(text, integer, integer),
  chatsync.open_buckets(text, bigint, integer),
  chatsync.forget_buckets()
to chatsync_worker;

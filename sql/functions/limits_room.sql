-- How much room the limits of a queue leave. What a limit counts apart is a bucket: kind/per/value.

-- Called by claim(). How many more messages the queue as a whole lets through now; null: any number.
create or replace function chatsync.queue_room(p_queue text) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
  select min(
    case l.kind
      when 'rate' then chatsync.rate_room(l, k.next_at)
      else l.amount - (
        select count(*) from chatsync.leased_messages where queue = p_queue)
    end)::integer
  from chatsync.queue_limits l
  left join chatsync.limit_buckets k on k.queue = l.queue and k.bucket = l.kind || '/queue/'
  where l.queue = p_queue and l.per = 'queue' and l.kind <> 'depth'
$$;

-- Called by rooms_of() and admit(). How many messages of a queue run, by what a kind of limit counts apart;
-- p_claimed is what this claim has taken so far.
create or replace function chatsync.count_in_flight(p_queue text, p_per text, p_claimed bigint[])
returns table (value text, messages bigint)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
  select
    case p_per when 'tenant' then m.tenant_id when 'inbox' then m.inbox_id::text else '' end,
    count(*)
  from (
    select tenant_id, inbox_id from chatsync.leased_messages where queue = p_queue
    union all
    select tenant_id, inbox_id from chatsync.message_queue where id = any (p_claimed)
  ) as m
  group by 1
$$;

-- Called by rooms_of(), queue_room() and admit(). How many more messages a rate lets through now (GCRA: next_at is the
-- theoretical arrival time).
create or replace function chatsync.rate_room(p_limit chatsync.queue_limits, p_next_at timestamptz)
returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  -- The later one first: PostgreSQL 15 does not subtract from infinity.
  select floor(
    p_limit.burst
    - extract(epoch from greatest(p_next_at, chatsync.now()) - chatsync.now())
      * p_limit.amount / p_limit.per_seconds
    + 1e-6)::integer
$$;

-- Called by admit(), next_ready_at() and claims. When a rate lets the next message through.
create or replace function chatsync.rate_opens_at(p_limit chatsync.queue_limits, p_next_at timestamptz)
returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select p_next_at - make_interval(secs => (p_limit.burst - 1) * p_limit.per_seconds / p_limit.amount)
$$;

-- Called by rooms_of() and spend(). The buckets of one kind that some candidates fall into, and the limit of
-- each: of several, the narrowest.
create or replace function chatsync.buckets_of(
  p_queue text, p_kind text, p_per text, p_tenant_ids text[], p_inbox_ids bigint[], p_lanes text[]
) returns table (place bigint, value text, bucket text, limit_id bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select c.place, v.value, p_kind || '/' || p_per || '/' || v.value, l.limit_id
  from unnest(p_tenant_ids, p_inbox_ids, p_lanes)
    with ordinality as c (tenant_id, inbox_id, lane, place)
  cross join lateral (
    select case p_per
      when 'key' then c.lane when 'inbox' then c.inbox_id::text when 'tenant' then c.tenant_id else ''
    end as value
  ) as v
  cross join lateral (
    select q.limit_id
    from chatsync.queue_limits q
    where q.queue = p_queue and q.kind = p_kind and q.per = p_per
      and (q.tenant_id is null or q.tenant_id = c.tenant_id)
      and (q.inbox_id is null or q.inbox_id = c.inbox_id)
    order by q.inbox_id nulls last, q.tenant_id nulls last
    limit 1
  ) as l
  where v.value is not null
$$;

-- Called by fit() and full_buckets(). The bucket of each candidate that one kind of limit has, and its room;
-- p_claimed is what this claim has taken so far.
create or replace function chatsync.rooms_of(
  p_queue text, p_kind text, p_per text, p_tenant_ids text[], p_inbox_ids bigint[], p_lanes text[],
  p_claimed bigint[]
) returns table (place bigint, bucket text, limit_id bigint, room integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with candidates as materialized (
    select * from chatsync.buckets_of(p_queue, p_kind, p_per, p_tenant_ids, p_inbox_ids, p_lanes)
  ),
  rooms as (
    select c.bucket,
      case p_kind
        when 'rate' then chatsync.rate_room(l, k.next_at)
        else l.amount - coalesce(f.messages, 0)::integer
      end as room
    from (select distinct on (value) value, bucket, limit_id from candidates) as c
    join chatsync.queue_limits l on l.limit_id = c.limit_id
    left join chatsync.limit_buckets k on k.queue = p_queue and k.bucket = c.bucket
    left join chatsync.count_in_flight(
      p_queue, p_per, case p_kind when 'in_flight' then p_claimed end) as f
      on p_kind = 'in_flight' and f.value = c.value
  )
  select c.place, c.bucket, c.limit_id, r.room from candidates c join rooms r on r.bucket = c.bucket
$$;

-- Called by fit() and full_buckets(). The limits that have buckets, from narrow to wide: what a narrow one
-- holds back leaves its room in the wide one to others. That of a whole queue is queue_room().
create or replace function chatsync.steps_of(p_queue text)
returns table (kind text, per text, width integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct l.kind, l.per, array_position(array['key', 'inbox', 'tenant'], l.per) as width
  from chatsync.queue_limits l
  where l.queue = p_queue and l.kind <> 'depth' and l.per <> 'queue'
  order by width
$$;

-- Called by claims before they take anything of what they could take. Which of it has no room at all, and in
-- which bucket.
create or replace function chatsync.full_buckets(
  p_queue text, p_tenant_ids text[], p_inbox_ids bigint[], p_lanes text[], p_claimed bigint[]
) returns table (place bigint, bucket text, limit_id bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (r.place) r.place, r.bucket, r.limit_id
  from chatsync.steps_of(p_queue) as s
  cross join lateral chatsync.rooms_of(
    p_queue, s.kind, s.per, p_tenant_ids, p_inbox_ids, p_lanes, p_claimed) as r
  where r.room <= 0
  order by r.place, s.width
$$;

-- Called by claims with what they could take, in its order: lanes, or single messages with a null lane, and
-- how many messages each would give. How many each may give, and which bucket has no room for the others.
create or replace function chatsync.fit(
  p_queue text, p_tenant_ids text[], p_inbox_ids bigint[], p_lanes text[], p_counts integer[],
  p_claimed bigint[], out allowed integer[], out buckets text[], out limit_ids bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_step record;
begin
  allowed := p_counts;
  buckets := array_fill(null::text, array[cardinality(p_counts)]);
  limit_ids := array_fill(null::bigint, array[cardinality(p_counts)]);
  for v_step in select * from chatsync.steps_of(p_queue) loop
    with cut as (
      select r.place, r.bucket, r.limit_id,
        least(
          allowed[r.place],
          r.room - sum(allowed[r.place]) over (partition by r.bucket order by r.place)
            + allowed[r.place]) as n
      from chatsync.rooms_of(
        p_queue, v_step.kind, v_step.per, p_tenant_ids, p_inbox_ids, p_lanes, p_claimed) as r
      where allowed[r.place] > 0
    )
    select
      array_agg(
        case when t.n is null then allowed[a.place] else greatest(t.n, 0)::integer end order by a.place),
      array_agg(case when t.n <= 0 then t.bucket else buckets[a.place] end order by a.place),
      array_agg(case when t.n <= 0 then t.limit_id else limit_ids[a.place] end order by a.place)
    into allowed, buckets, limit_ids
    from generate_subscripts(p_counts, 1) as a (place)
    left join cut t on t.place = a.place;
  end loop;
  perform chatsync.spend(p_queue, p_tenant_ids, p_inbox_ids, p_lanes, allowed);
end
$$;

-- Called by fit(). Notes in the buckets of rates what is let through.
create or replace function chatsync.spend(
  p_queue text, p_tenant_ids text[], p_inbox_ids bigint[], p_lanes text[], p_allowed integer[]
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.limit_buckets as k (queue, bucket, limit_id, next_at)
  select p_queue, b.bucket, l.limit_id,
    chatsync.now() + make_interval(secs => sum(p_allowed[b.place]) * l.per_seconds / l.amount)
  from (
    select distinct per from chatsync.queue_limits where queue = p_queue and kind = 'rate'
  ) as s
  cross join lateral chatsync.buckets_of(
    p_queue, 'rate', s.per, p_tenant_ids, p_inbox_ids, p_lanes) as b
  join chatsync.queue_limits l on l.limit_id = b.limit_id
  where p_allowed[b.place] > 0
  group by b.bucket, l.limit_id
  on conflict (queue, bucket) do update
  set limit_id = excluded.limit_id,
    next_at = greatest(k.next_at, chatsync.now()) + (excluded.next_at - chatsync.now())
$$;

grant execute on function
  chatsync.queue_room(text),
  chatsync.count_in_flight(text, text, bigint[]),
  chatsync.rate_room(chatsync.queue_limits, timestamptz),
  chatsync.rate_opens_at(chatsync.queue_limits, timestamptz),
  chatsync.buckets_of(text, text, text, text[], bigint[], text[]),
  chatsync.rooms_of(text, text, text, text[], bigint[], text[], bigint[]),
  chatsync.steps_of(text),
  chatsync.full_buckets(text, text[], bigint[], text[], bigint[]),
  chatsync.fit(text, text[], bigint[], text[], integer[], bigint[]),
  chatsync.spend(text, text[], bigint[], text[], integer[])
to chatsync_worker;

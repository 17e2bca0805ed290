-- Taking work: a claim is one short transaction, in READ COMMITTED.

-- Called by claim(). Takes the turns of some free lanes and, in a later statement, up to p_limit of
-- their first messages. Rows must be read in a newer snapshot than the turns: an older one may show
-- messages as taken that the last holder has just released, and a later one would overtake them.
-- No turn has a lower rank than p_from_rank; null: nobody knows.
create or replace function chatsync.claim_from_lanes(
  p_queue text, p_worker_id bigint, p_lease_id bigint, p_limit integer, p_is_suspect boolean,
  p_has_pauses boolean, p_from_rank timestamp default null
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
-- A plan that was made while the tables were small is kept. To sort a lane would read all of it.
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_lanes text[];
  v_from_ids bigint[];
  v_used text[];
  v_found boolean;
  v_ids bigint[];
  v_claimed bigint[] := '{}';
  -- Few lanes often fill a batch; locking a turn that is not used costs a write.
  v_turns integer := case when p_is_suspect then 1 else 16 end;
begin
  loop
    select array_agg(t.lane order by t.position), array_agg(t.from_id order by t.position)
    into v_lanes, v_from_ids
    from (
      select t.lane, t.from_id, row_number() over () as position
      from (
        select lane, from_id
        from chatsync.lane_turns
        where queue = p_queue and is_suspect = p_is_suspect and lease_id is null
          and not is_parked and not is_waiting and rank >= coalesce(p_from_rank, '-infinity')
        order by rank, turn
        limit v_turns
        for update skip locked
      ) as t
    ) as t;
    exit when v_lanes is null;
    if p_has_pauses then
      v_lanes := chatsync.park_lanes(p_queue, v_lanes);
      if v_lanes is null then
        -- A paused queue of lanes is walked once; larger steps make that short.
        v_turns := 1000;
        continue;
      end if;
      if cardinality(v_lanes) < cardinality(v_from_ids) then
        v_from_ids := '{}';
      end if;
    end if;

    with taken as materialized (
      select l.lane, l.position, m.id, m.must_wait
      from unnest(v_lanes) with ordinality as l (lane, position)
      cross join lateral (
        select least(
          coalesce(v_from_ids[l.position], 0),
          (select min(e.id) from chatsync.late_entries e where e.lane = l.lane)) as from_id
      ) as f
      cross join lateral (
        select id,
          (status = 'retrying' and scheduled_at > chatsync.now())
            or (deaths > 0 and not p_is_suspect) as must_wait
        from chatsync.message_queue
        -- As one range, as in let_lanes_go().
        where lane_key is not null and (lane_key, id) >= (l.lane, f.from_id)
          and (lane_key, id) <= (l.lane, 9223372036854775807)
          and status in ('pending', 'retrying')
        order by lane_key, id
        limit p_limit - cardinality(v_claimed)
        for no key update
      ) as m
      limit p_limit - cardinality(v_claimed)
    ),
    -- What has to wait for its time, or to run alone, keeps those of its key behind it.
    cut as (
      select id, lane, bool_or(must_wait) over (partition by lane order by id) as is_behind
      from taken
    )
    select array_agg(id) filter (where not is_behind),
      array_agg(distinct lane) filter (where not is_behind), count(*) > 0
    into v_ids, v_used, v_found
    from cut;

    if v_ids is not null then
      v_claimed := v_claimed || v_ids;
      update chatsync.lane_turns set lease_id = p_lease_id, worker_id = p_worker_id
      where turn = any (chatsync.turns_of(v_used));
    end if;
    if cardinality(v_claimed) >= p_limit then
      exit;
    end if;
    -- A lane that gave nothing has nothing now: it gets the turn that its head deserves, or none.
    select array_agg(l.lane) into v_lanes
    from unnest(v_lanes) as l (lane)
    where v_used is null or not l.lane = any (v_used);
    if v_lanes is not null then
      perform chatsync.let_lanes_go(v_lanes);
    end if;
    exit when p_is_suspect or not v_found;
    v_turns := least(v_turns * 2, p_limit);
  end loop;
  return v_claimed;
end
$$;

-- Called by claim() for messages without a key.
create or replace function chatsync.claim_keyless(
  p_queue text, p_limit integer, p_is_suspect boolean, p_has_pauses boolean,
  p_from_rank timestamp default null
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_ids bigint[];
begin
  loop
    if p_is_suspect then
      select array_agg(m.id) into v_ids
      from (
        select id
        from chatsync.message_queue
        where queue = p_queue and ordering_key is null and status = 'pending' and deaths > 0
        order by id
        limit 1
        for no key update skip locked
      ) as m;
    else
      select array_agg(m.id) into v_ids
      from (
        select id
        from chatsync.message_queue
        where queue = p_queue and ordering_key is null and status = 'pending' and deaths = 0
          and (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
            >= coalesce(p_from_rank, '-infinity')
        order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
        limit p_limit
        for no key update skip locked
      ) as m;
    end if;
    if v_ids is null or not p_has_pauses then
      return v_ids;
    end if;
    v_ids := chatsync.park_messages(p_queue, v_ids);
    if v_ids is not null then
      return v_ids;
    end if;
  end loop;
end
$$;

-- Called by claim(). What a queue has to be done now, by kind, and the lowest ranks of what can
-- run; each is one probe of an index.
create or replace function chatsync.look_for_work(
  p_queue text, out due boolean, out suspect_lanes boolean, out suspects boolean, out lanes boolean,
  out keyless boolean, out turn_rank timestamp, out message_rank timestamp, out pauses boolean,
  out ended_pauses boolean, out is_stopped boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_began_at timestamptz := clock_timestamp();
  v_front record;
begin
  select * into v_front from chatsync.remembered_front(p_queue);
  select
    exists (
      select from chatsync.message_queue
      where queue = p_queue
        and (status = 'scheduled' or (status = 'retrying' and ordering_key is null))
        and scheduled_at <= chatsync.now())
    or exists (
      select from chatsync.lane_turns
      where queue = p_queue and lease_id is null and not is_parked and is_waiting
        and ready_at <= chatsync.now()),
    exists (
      select from chatsync.lane_turns
      where queue = p_queue and is_suspect and lease_id is null and not is_parked
        and not is_waiting),
    exists (
      select from chatsync.message_queue
      where queue = p_queue and ordering_key is null and status = 'pending' and deaths > 0),
    (
      select rank from chatsync.lane_turns
      where queue = p_queue and not is_suspect and lease_id is null and not is_parked
        and not is_waiting and rank >= coalesce(v_front.turn_rank, '-infinity')
      order by rank
      limit 1),
    (
      select (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
      from chatsync.message_queue
      where queue = p_queue and ordering_key is null and status = 'pending' and deaths = 0
        and (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
          >= coalesce(v_front.message_rank, '-infinity')
      order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
      limit 1),
    count(*) > 0,
    coalesce(bool_or(l.paused_until <= chatsync.now()), false),
    coalesce(bool_or(l.tenant_id is null and l.paused_until > chatsync.now() is not false), false)
  into due, suspect_lanes, suspects, turn_rank, message_rank, pauses, ended_pauses, is_stopped
  from chatsync.queue_limits l
  where l.queue = p_queue;
  lanes := turn_rank is not null;
  keyless := message_rank is not null;
  perform chatsync.remember_front(
    p_queue, turn_rank, message_rank, v_began_at, v_front.message_rank is null);
end
$$;

-- Leases up to p_limit messages to a worker; no row when nothing is due. What a dead worker held
-- comes alone, as a batch of one, so that it takes nobody with it if it kills again.
create or replace function chatsync.claim(p_queue text, p_worker_id bigint, p_limit integer default 100)
returns setof chatsync.message_queue
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_lease_id bigint;
  v_ids bigint[] := '{}';
  v_has record;
begin
  if p_limit <= 0 then
    return;
  end if;
  -- One look at what there is: each probe that locks costs as much as this, and most find nothing.
  select * into v_has from chatsync.look_for_work(p_queue);
  if v_has.due or v_has.ended_pauses then
    perform chatsync.promote(p_queue);
    if v_has.ended_pauses then
      perform chatsync.resume_due(p_queue);
    end if;
    select * into v_has from chatsync.look_for_work(p_queue);
  end if;
  if v_has.is_stopped or not (v_has.suspect_lanes or v_has.suspects or v_has.lanes or v_has.keyless) then
    return;
  end if;
  v_lease_id := nextval('chatsync.leases');
  if v_has.suspect_lanes then
    v_ids := chatsync.claim_from_lanes(
      p_queue, p_worker_id, v_lease_id, 1, true, v_has.pauses);
  end if;
  if cardinality(v_ids) = 0 and v_has.suspects then
    v_ids := coalesce(chatsync.claim_keyless(p_queue, 1, true, v_has.pauses), '{}');
  end if;
  if cardinality(v_ids) = 0 then
    if v_has.lanes then
      v_ids := chatsync.claim_from_lanes(
        p_queue, p_worker_id, v_lease_id, p_limit, false, v_has.pauses, v_has.turn_rank);
    end if;
    if cardinality(v_ids) < p_limit and v_has.keyless then
      v_ids := v_ids || coalesce(
        chatsync.claim_keyless(
          p_queue, p_limit - cardinality(v_ids), false, v_has.pauses, v_has.message_rank), '{}');
    end if;
  end if;
  if cardinality(v_ids) = 0 then
    return;
  end if;
  return query
  with claimed as (
    update chatsync.message_queue
    set status = 'processing', lease_id = v_lease_id, worker_id = p_worker_id,
      retry_count = retry_count + 1, processed_at = chatsync.now()
    where id = any (v_ids)
    returning *
  )
  select * from claimed order by id;
end
$$;

grant execute on function
  chatsync.claim_from_lanes(text, bigint, bigint, integer, boolean, boolean, timestamp),
  chatsync.claim_keyless(text, integer, boolean, boolean, timestamp),
  chatsync.look_for_work(text),
  chatsync.claim(text, bigint, integer)
to chatsync_worker;

-- Taking work: a claim is one short transaction, in READ COMMITTED.

-- Called by claim(). Takes the turns of some free lanes and, in a later statement, up to p_limit of
-- their first messages. Rows must be read in a newer snapshot than the turns: an older one may show
-- messages as taken that the last holder has just released, and a later one would overtake them.
-- No turn has a lower rank than p_from_rank; null: nobody knows.
create or replace function chatsync.claim_from_lanes(
  p_queue text, p_worker_id bigint, p_lease_id bigint, p_limit integer, p_is_suspect boolean,
  p_has_pauses boolean, p_has_limits boolean, p_from_rank timestamp default null
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
  v_turn_ids bigint[];
  v_from_ids bigint[];
  v_used text[];
  v_used_turns bigint[];
  v_first_ids bigint[];
  v_last_ids bigint[];
  v_refused text[];
  v_found integer;
  v_last bigint;
  v_ids bigint[];
  v_claimed bigint[] := '{}';
  -- Few lanes often fill a batch; locking a turn that is not used costs a write.
  v_turns integer := case when p_is_suspect then 1 else 16 end;
begin
  loop
    select array_agg(t.lane order by t.position), array_agg(t.turn order by t.position),
      array_agg(t.from_id order by t.position)
    into v_lanes, v_turn_ids, v_from_ids
    from (
      select t.lane, t.turn, t.from_id, row_number() over () as position
      from (
        select lane, turn, from_id
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
    end if;
    if p_has_limits then
      v_lanes := chatsync.park_full_lanes(p_queue, v_lanes, v_claimed);
      if v_lanes is null then
        v_turns := 1000;
        continue;
      end if;
    end if;
    if cardinality(v_lanes) < cardinality(v_from_ids) then
      v_turn_ids := chatsync.turns_of(v_lanes);
      v_from_ids := '{}';
    end if;

    with taken as materialized (
      select l.lane, l.turn, l.position, m.id, m.must_wait
      from unnest(v_lanes, v_turn_ids) with ordinality as l (lane, turn, position)
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
      select id, lane, turn, position,
        bool_or(must_wait) over (partition by position order by id) as is_behind
      from taken
    ),
    used as (
      select lane, turn, min(id) as first_id, max(id) as last_id
      from cut
      where not is_behind
      group by lane, turn
    )
    select
      (select array_agg(id) from cut where not is_behind), (select count(*) from taken),
      (select max(position) from taken), array_agg(lane), array_agg(turn), array_agg(first_id),
      array_agg(last_id)
    into v_ids, v_found, v_last, v_used, v_used_turns, v_first_ids, v_last_ids
    from used;
    if v_found < p_limit - cardinality(v_claimed) then
      v_last := cardinality(v_lanes);
    end if;

    if p_has_limits and v_ids is not null then
      select f.ids, f.refused into v_ids, v_refused
      from chatsync.fit_lanes(p_queue, v_lanes, v_ids, v_claimed) as f;
    end if;
    if v_ids is not null then
      v_claimed := v_claimed || v_ids;
      update chatsync.lane_turns t
      set lease_id = p_lease_id, worker_id = p_worker_id, first_id = u.first_id, last_id = u.last_id
      from unnest(v_used, v_used_turns, v_first_ids, v_last_ids) as u (lane, turn, first_id, last_id)
      where t.turn = u.turn and u.lane <> all (coalesce(v_refused, '{}'));
    end if;
    if cardinality(v_claimed) >= p_limit then
      exit;
    end if;
    -- A lane that gave nothing has nothing now: it gets the turn that its head deserves, or none. Those
    -- that were not looked at, since enough was taken before them, keep their places.
    select array_agg(l.lane) into v_lanes
    from unnest(v_lanes) with ordinality as l (lane, position)
    where l.position <= v_last and l.lane <> all (coalesce(v_used, '{}'))
      and l.lane <> all (coalesce(v_refused, '{}'));
    if v_lanes is not null then
      perform chatsync.let_lanes_go(v_lanes);
    end if;
    exit when p_is_suspect or v_found = 0;
    v_turns := least(v_turns * 2, p_limit);
  end loop;
  return v_claimed;
end
$$;

-- Called by claim(), with what look_for_work() found. Takes up to p_limit messages, or a suspect alone.
create or replace function chatsync.claim_any(
  p_queue text, p_worker_id bigint, p_lease_id bigint, p_limit integer, p_has record
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[] := '{}';
begin
  if p_has.suspect_lanes then
    v_ids := chatsync.claim_from_lanes(
      p_queue, p_worker_id, p_lease_id, 1, true, p_has.pauses, p_has.limits);
  end if;
  if cardinality(v_ids) = 0 and p_has.suspects then
    v_ids := chatsync.claim_keyless(p_queue, 1, true, p_has.pauses, p_has.limits, v_ids);
  end if;
  if cardinality(v_ids) = 0 then
    if p_has.lanes then
      v_ids := chatsync.claim_from_lanes(
        p_queue, p_worker_id, p_lease_id, p_limit, false, p_has.pauses, p_has.limits, p_has.turn_rank);
    end if;
    if cardinality(v_ids) < p_limit and p_has.keyless then
      v_ids := chatsync.claim_keyless(
        p_queue, p_limit - cardinality(v_ids), false, p_has.pauses, p_has.limits, v_ids,
        p_has.message_rank);
    end if;
  end if;
  return v_ids;
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
  v_room integer;
  v_admitted integer := 0;
  v_more integer := 1;
begin
  if p_limit <= 0 then
    return;
  end if;
  -- One look at what there is: each probe that locks costs as much as this, and most find nothing.
  select * into v_has from chatsync.look_for_work(p_queue);
  if v_has.limits then
    perform chatsync.lock_limits(p_queue);
    v_room := chatsync.queue_room(p_queue);
    p_limit := greatest(least(p_limit, v_room), 0);
  end if;
  if v_has.due then
    perform chatsync.promote(p_queue);
  end if;
  if v_has.ended_pauses then
    perform chatsync.resume_due(p_queue);
  end if;
  while p_limit > 0 loop
    if v_has.limits then
      v_admitted := chatsync.admit(p_queue, p_limit, v_more);
    end if;
    if v_has.due or v_has.ended_pauses or v_has.limits then
      select * into v_has from chatsync.look_for_work(p_queue);
    end if;
    exit when v_has.is_stopped
      or not (v_has.suspect_lanes or v_has.suspects or v_has.lanes or v_has.keyless);
    v_lease_id := coalesce(v_lease_id, nextval('chatsync.leases'));
    v_ids := chatsync.claim_any(p_queue, p_worker_id, v_lease_id, p_limit, v_has);
    -- What was brought back may be parked again, by a pause or by another limit; others are behind it.
    exit when cardinality(v_ids) > 0 or v_admitted = 0;
    v_more := least(v_more * 4, 1000);
  end loop;
  if v_room is not null then
    perform chatsync.crowd_queue(p_queue, cardinality(v_ids) >= v_room);
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
  chatsync.claim_from_lanes(text, bigint, bigint, integer, boolean, boolean, boolean, timestamp),
  chatsync.claim_any(text, bigint, bigint, integer, record),
  chatsync.claim(text, bigint, integer)
to chatsync_worker;

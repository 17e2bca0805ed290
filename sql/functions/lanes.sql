-- Lanes: one row per ordering key that has work, and its turn.

-- The lane of a key. Queue and tenant hold no slash, so that two keys never share a lane.
create or replace function chatsync.lane(p_queue text, p_tenant_id text, p_ordering_key text)
returns text
language sql immutable parallel safe
return p_queue || '/' || p_tenant_id || '/' || p_ordering_key;

-- Called before messages with a key are inserted, one array position a message. Holds each lane for
-- key share until the transaction ends, makes the missing ones, and sees that each has a turn.
-- Lock order: lanes by name. Raises CS003 outside READ COMMITTED.
create or replace function chatsync.hold_lanes(
  p_queue text, p_tenant_ids text[], p_inbox_ids bigint[], p_ordering_keys text[], p_priorities smallint[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
declare
  v_lanes text[];
  v_held integer;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'enqueueing needs READ COMMITTED, not %', current_setting('transaction_isolation')
      using errcode = 'CS003';
  end if;
  select array_agg(distinct chatsync.lane(p_queue, k.tenant_id, k.ordering_key)) into v_lanes
  from unnest(p_tenant_ids, p_ordering_keys) as k (tenant_id, ordering_key)
  where k.ordering_key is not null;
  if v_lanes is null then
    return;
  end if;
  -- A lane that is seen missing may be made, and one that is seen may be deleted, by another
  -- transaction in between: only a lane that is locked counts.
  loop
    select count(*) into v_held
    from (
      select from chatsync.queue_lanes l where l.lane = any (v_lanes) order by l.lane for key share
    ) as held;
    exit when v_held = cardinality(v_lanes);
    -- No turn that was is of this life, whose number is the time.
    insert into chatsync.queue_lanes (lane, queue, tenant_id, inbox_id, ordering_key, life)
    select distinct on (1)
      chatsync.lane(p_queue, k.tenant_id, k.ordering_key), p_queue, k.tenant_id, k.inbox_id, k.ordering_key,
      extract(epoch from clock_timestamp())
    from unnest(p_tenant_ids, p_inbox_ids, p_ordering_keys) as k (tenant_id, inbox_id, ordering_key)
    where k.ordering_key is not null
    order by 1
    on conflict (lane) do nothing;
  end loop;
  -- A lane without a turn is empty but for what is being put into it, under ids from the low water on.
  insert into chatsync.lane_turns (lane, life, queue, priority, ready_at, from_id)
  select k.lane, (select l.life from chatsync.queue_lanes l where l.lane = k.lane), p_queue, k.priority,
    chatsync.now(), (select chatsync.low_water('messages'))
  from (
    select distinct on (1) chatsync.lane(p_queue, k.tenant_id, k.ordering_key) as lane, k.priority
    from unnest(p_tenant_ids, p_ordering_keys, p_priorities) as k (tenant_id, ordering_key, priority)
    where k.ordering_key is not null
    order by 1
  ) as k
  on conflict (lane, life) do nothing;
end
$$;

-- Called with lanes that are held: their turns. In plpgsql, which keeps its plan: to plan it costs more than
-- to run it.
create or replace function chatsync.turns_of(p_lanes text[]) returns bigint[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
begin
  return array(
    select (
      select t.turn
      from chatsync.lane_turns t
      where t.lane = l.lane
        and t.life = coalesce((select q.life from chatsync.queue_lanes q where q.lane = l.lane), 0))
    from unnest(p_lanes) as l (lane));
end
$$;

-- Called with lanes whose turn the caller holds. A lane without work goes, with its turn; every
-- other one gets a new turn, due when its head is. Waits for nobody: a lane that a producer holds
-- is not empty for long. Returns whether any of them has, or may have by now, further work. Looks begin where
-- the turn says.
create or replace function chatsync.let_lanes_go(p_lanes text[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_locked text[];
  v_met text[];
  v_from_ids bigint[];
  v_empty text[];
  v_has_more boolean;
  v_has_many_dead boolean := chatsync.has_many_dead_rows();
begin
  select array_agg(l.lane) into v_locked
  from (
    select lane from chatsync.queue_lanes where lane = any (p_lanes) order by lane for update skip locked
  ) as l;
  with gone as (
    delete from chatsync.lane_turns where turn = any (chatsync.turns_of(p_lanes)) returning lane, from_id
  )
  select array_agg(lane), array_agg(from_id) into v_met, v_from_ids from gone;
  if v_has_many_dead then
    update chatsync.queue_lanes set life = life + 1 where lane = any (v_locked) and random() < 0.02;
  end if;
  -- A new statement, hence a new snapshot: it sees what a producer committed before the lock.
  with headed as materialized (
    select l.lane, l.life, l.queue, l.is_permanent, h.id, h.priority, h.status, h.scheduled_at, h.deaths,
      -- In a lane that is locked all is seen; in another one, what is not seen has ids from the low water on.
      case
        when l.lane = any (coalesce(v_locked, '{}')) then h.id
        else least(h.id, greatest(g.from_id, (select chatsync.low_water('messages'))))
      end as from_id
    from chatsync.queue_lanes l
    left join unnest(v_met, v_from_ids) as g (lane, from_id) on g.lane = l.lane
    cross join lateral (
      select least(
        coalesce(g.from_id, 0),
        (select min(e.id) from chatsync.late_entries e where e.lane = l.lane)) as from_id
    ) as f
    left join lateral (
      select m.id, m.priority, m.status, m.scheduled_at, m.deaths
      from chatsync.message_queue m
      -- As one range: an equality and a bound on ids would do for the primary key as well.
      where m.lane_key is not null and (m.lane_key, m.id) >= (l.lane, f.from_id)
        and (m.lane_key, m.id) <= (l.lane, 9223372036854775807)
      order by m.lane_key, m.id
      limit 1
    ) as h on true
    where l.lane = any (p_lanes)
  ),
  -- In the same snapshot: what is noted meanwhile was not seen, and stays noted.
  seen as (
    delete from chatsync.late_entries where lane = any (p_lanes)
  ),
  given as (
    insert into chatsync.lane_turns (
      lane, life, queue, priority, ready_at, is_suspect, is_waiting, from_id)
    select lane, life, queue, coalesce(priority, 0),
      case when status = 'retrying' then greatest(scheduled_at, chatsync.now()) else chatsync.now() end,
      coalesce(deaths > 0, false),
      coalesce(status = 'retrying' and scheduled_at > chatsync.now(), false),
      from_id
    from headed
    where id is not null or not lane = any (coalesce(v_locked, '{}'))
    on conflict (lane, life) do nothing
  )
  -- Who holds a lane may commit before this does: who looks for it then still finds the turn taken.
  select coalesce(bool_or(id is not null or not lane = any (coalesce(v_locked, '{}'))), false),
    array_agg(lane) filter (
      where id is null and not is_permanent and lane = any (coalesce(v_locked, '{}')))
  into v_has_more, v_empty
  from headed;
  -- The foreign key looks at the lane from its beginning: with many dead rows that is left to sweep_lanes().
  -- So does this look, in case that the turn was wrong.
  if v_empty is not null and not v_has_many_dead then
    delete from chatsync.queue_lanes l
    where l.lane = any (v_empty)
      -- Not as a join, which would read all lanes.
      and (select m.id from chatsync.message_queue m where m.lane_key = l.lane limit 1) is null;
  end if;
  return v_has_more;
end
$$;

-- Serves a plain `insert into message_queue` with a key: whoever may insert need not know lanes.
create or replace function chatsync.hold_lane_of_insert() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.hold_lanes(
    new.queue, array[new.tenant_id], array[new.inbox_id], array[new.ordering_key], array[new.priority]);
  -- Its id was drawn before the lane was held, which somebody may have let go in between.
  insert into chatsync.late_entries (lane, id)
  select t.lane, new.id
  from chatsync.lane_turns t
  where t.turn = any (chatsync.turns_of(
      array[chatsync.lane(new.queue, new.tenant_id, new.ordering_key)]))
    and t.from_id > new.id
  on conflict do nothing;
  return new;
end
$$;

create or replace trigger message_queue_holds_lane
before insert on chatsync.message_queue
for each row
when (
  new.ordering_key is not null and new.status <> 'scheduled'
  and current_setting('chatsync.lanes_held', true) is distinct from 'yes'
)
execute function chatsync.hold_lane_of_insert();

-- Called every few seconds by each worker. Mends what a crash or a careless hand left: a lane with
-- work but no turn, and a free turn or a lane without work. Looks at each lane from its beginning; returns
-- how many it changed.
create or replace function chatsync.sweep_lanes() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
declare
  v_lanes text[];
begin
  select array_agg(l.lane) into v_lanes
  from (
    select q.lane
    from chatsync.queue_lanes q
    left join chatsync.lane_turns t on t.lane = q.lane
    cross join lateral (
      select exists (select from chatsync.message_queue m where m.lane_key = q.lane) as has_work
    ) as w
    where t.lease_id is null
      and (w.has_work = (t.turn is null) or not (w.has_work or q.is_permanent))
    order by q.lane
    limit 1000
    for update of q skip locked
  ) as l
  where not exists (
    select from chatsync.lane_turns t where t.lane = l.lane and t.lease_id is not null);
  if v_lanes is null then
    return 0;
  end if;
  -- In id order and without waiting, as claim() takes them: a turn that is just being claimed stays.
  select array_agg(s.lane) into v_lanes
  from unnest(v_lanes) as s (lane)
  where not exists (
    select from chatsync.lane_turns t where t.lane = s.lane)
    or s.lane in (
      select t.lane from chatsync.lane_turns t
      where t.lane = any (v_lanes) and t.lease_id is null
      for update skip locked);
  if v_lanes is null then
    return 0;
  end if;
  perform chatsync.let_lanes_go(v_lanes);
  -- What let_lanes_go() left: a lane that has no turn after it has no work.
  delete from chatsync.queue_lanes l
  where l.lane = any (v_lanes) and not l.is_permanent
    and (select t.turn from chatsync.lane_turns t where t.lane = l.lane limit 1) is null
    and (select m.id from chatsync.message_queue m where m.lane_key = l.lane limit 1) is null;
  return cardinality(v_lanes);
end
$$;

grant execute on function
  chatsync.lane(text, text, text),
  chatsync.hold_lanes(text, text[], bigint[], text[], smallint[]),
  chatsync.turns_of(text[]),
  chatsync.let_lanes_go(text[]),
  chatsync.sweep_lanes()
to chatsync_worker;

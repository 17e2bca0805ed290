-- What is there to be done, now and later: when that is, and how it gets in line.

-- Called by claim(). What a queue has to be done now, by kind, and the lowest ranks of what can
-- run; each is one probe of an index. With p_is_full it looks from the beginning.
create or replace function chatsync.look_for_work(
  p_queue text, p_is_full boolean default false,
  out due boolean, out suspect_lanes boolean, out suspects boolean, out lanes boolean,
  out keyless boolean, out turn_rank timestamp, out message_rank timestamp, out limits boolean,
  out pauses boolean, out ended_pauses boolean, out is_stopped boolean
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
  select * into v_front from chatsync.remembered_front(p_queue) where not p_is_full;
  select
    exists (
      select from chatsync.message_queue
      where queue = p_queue and is_later and scheduled_at <= chatsync.now())
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
      where queue = p_queue and keyless_status = 'pending' and deaths > 0),
    (
      select rank from chatsync.lane_turns
      where queue = p_queue and not is_suspect and lease_id is null and not is_parked
        and not is_waiting and rank >= coalesce(v_front.turn_rank, '-infinity')
      order by rank
      limit 1),
    (
      select (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
      from chatsync.message_queue
      where queue = p_queue and keyless_status = 'pending' and deaths = 0
        and (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
          >= coalesce(v_front.message_rank, '-infinity')
      order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
      limit 1),
    exists (select from chatsync.queue_limits where queue = p_queue and kind <> 'depth'),
    count(*) > 0,
    coalesce(bool_or(p.paused_until <= chatsync.now()), false),
    coalesce(bool_or(p.tenant_id is null and p.paused_until > chatsync.now() is not false), false)
  into due, suspect_lanes, suspects, turn_rank, message_rank, limits, pauses, ended_pauses, is_stopped
  from chatsync.queue_pauses p
  where p.queue = p_queue;
  lanes := turn_rank is not null;
  keyless := message_rank is not null;
  -- Where there are limits, each claim may bring back what is older than the front.
  if not (limits or p_is_full) then
    perform chatsync.remember_front(
      p_queue, turn_rank, message_rank, v_began_at, v_front.is_own);
  end if;
end
$$;

-- Called by claim(). Puts in line whose time has come: lanes that wait for a retry, and messages, each of
-- which takes its lane as an enqueue does.
create or replace function chatsync.promote(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
declare
  v_due bigint[];
begin
  update chatsync.lane_turns
  set is_waiting = false
  where turn = any (array(
    select turn
    from chatsync.lane_turns
    where queue = p_queue and lease_id is null and not is_parked and is_waiting
      and ready_at <= chatsync.now()
    order by ready_at
    limit 500
    for update skip locked));
  select array_agg(d.id) into v_due
  from (
    select id
    from chatsync.message_queue
    where queue = p_queue and is_later and scheduled_at <= chatsync.now()
    order by scheduled_at
    limit 500
    for no key update skip locked
  ) as d;
  if v_due is null then
    return;
  end if;
  perform chatsync.hold_lanes(
    p_queue, array_agg(tenant_id), array_agg(inbox_id), array_agg(ordering_key), array_agg(priority))
  from chatsync.message_queue
  where id = any (v_due) and status = 'scheduled';
  update chatsync.message_queue set status = 'pending' where id = any (v_due);
end
$$;

-- When the next message of a queue becomes due, its pause ends or a rate lets something through, or null:
-- until then an idle worker may sleep.
create or replace function chatsync.next_ready_at(p_queue text) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when bool_or(p.tenant_id is null) then min(p.paused_until) filter (where p.tenant_id is null)
    else least(
      min(p.paused_until),
      (select min(scheduled_at) from chatsync.message_queue
        where queue = p_queue and is_later),
      (select min(ready_at) from chatsync.lane_turns
        where queue = p_queue and lease_id is null and not is_parked and is_waiting),
      -- One that is open, and in which something is parked all the same, is not what it waits for.
      (select min(r.opens_at)
        from chatsync.limit_buckets k
        join chatsync.queue_limits l on l.limit_id = k.limit_id
        cross join lateral chatsync.rate_opens_at(l, k.next_at) as r (opens_at)
        where k.queue = p_queue and k.is_crowded and l.kind = 'rate' and r.opens_at > chatsync.now()))
  end
  from chatsync.queue_pauses p
  where p.queue = p_queue
$$;

grant execute on function
  chatsync.look_for_work(text, boolean),
  chatsync.promote(text),
  chatsync.next_ready_at(text)
to chatsync_worker;

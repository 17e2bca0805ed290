-- What waits for its time: when that is, and how it gets in line.

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
    where queue = p_queue and (status = 'scheduled' or (status = 'retrying' and ordering_key is null))
      and scheduled_at <= chatsync.now()
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

-- When the next message of a queue becomes due or its pause ends, or null: until then an idle worker
-- may sleep.
create or replace function chatsync.next_ready_at(p_queue text) returns timestamptz
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when bool_or(l.tenant_id is null) then min(l.paused_until) filter (where l.tenant_id is null)
    else least(
      min(l.paused_until),
      (select min(scheduled_at) from chatsync.message_queue
        where queue = p_queue
          and (status = 'scheduled' or (status = 'retrying' and ordering_key is null))),
      (select min(ready_at) from chatsync.lane_turns
        where queue = p_queue and lease_id is null and not is_parked and is_waiting))
  end
  from chatsync.queue_limits l
  where l.queue = p_queue
$$;

grant execute on function
  chatsync.promote(text),
  chatsync.next_ready_at(text)
to chatsync_worker;

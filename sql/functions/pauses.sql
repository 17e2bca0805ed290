-- Pauses. A claim that meets what is paused parks it; resuming brings back what no other pause covers.

-- Whether a pause of p_queue covers a lane or a message of this tenant, inbox and key.
create or replace function chatsync.is_paused(
  p_queue text, p_tenant_id text, p_inbox_id bigint, p_ordering_key text
) returns boolean
language sql stable
return exists (
  select
  from chatsync.queue_pauses l
  where l.queue = p_queue
    and (l.paused_until is null or l.paused_until > chatsync.now())
    and (l.tenant_id is null or l.tenant_id = p_tenant_id)
    and (l.inbox_id is null or l.inbox_id = p_inbox_id)
    and (l.ordering_key is null or l.ordering_key = p_ordering_key));

-- Called by operators and by whoever learns that an inbox must rest. What is running goes on: a pause
-- may be overshot by one batch of each worker. Pausing again changes reason and end.
create or replace function chatsync.pause(
  p_queue text, p_tenant_id text default null, p_inbox_id bigint default null,
  p_ordering_key text default null, p_reason text default 'paused by an operator',
  p_until timestamptz default null
) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.queue_pauses as p (
    queue, tenant_id, inbox_id, ordering_key, pause_reason, paused_until)
  values (p_queue, p_tenant_id, p_inbox_id, p_ordering_key, p_reason, p_until)
  on conflict on constraint scope_has_one_pause do update
  set pause_reason = excluded.pause_reason, paused_until = excluded.paused_until,
    paused_at = chatsync.now()
$$;

-- Called by whoever learns that something must rest, such as an inbox whose token expired: as pause(), but a
-- pause that is there and lasts longer stays as it is.
create or replace function chatsync.pause_at_least(
  p_queue text, p_tenant_id text, p_inbox_id bigint, p_ordering_key text, p_reason text,
  p_until timestamptz
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.queue_pauses as p (
    queue, tenant_id, inbox_id, ordering_key, pause_reason, paused_until)
  values (p_queue, p_tenant_id, p_inbox_id, p_ordering_key, p_reason, p_until)
  on conflict on constraint scope_has_one_pause do update
  set pause_reason = excluded.pause_reason, paused_until = excluded.paused_until,
    paused_at = chatsync.now()
  where p.paused_until < coalesce(excluded.paused_until, 'infinity')
$$;

-- Called by operators. Ends exactly the pause that was made with these arguments; a narrower or a wider
-- one stays. Returns whether there was one.
create or replace function chatsync.resume(
  p_queue text, p_tenant_id text default null, p_inbox_id bigint default null,
  p_ordering_key text default null
) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from chatsync.queue_pauses l
  where l.queue = p_queue
    and (l.tenant_id, l.inbox_id, l.ordering_key)
      is not distinct from (p_tenant_id, p_inbox_id, p_ordering_key);
  if not found then
    return false;
  end if;
  perform chatsync.unpark(p_queue);
  perform pg_notify('chatsync', '');
  return true;
end
$$;

-- Called by claim() when a pause has run out.
create or replace function chatsync.resume_due(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from chatsync.queue_pauses
  where pause_id = any (array(
    select pause_id from chatsync.queue_pauses
    where queue = p_queue and paused_until <= chatsync.now()
    for update skip locked));
  perform chatsync.unpark(p_queue);
end
$$;

-- Called after a pause was deleted, in a new statement: to delete it waited for every claim that was
-- parking under it.
create or replace function chatsync.unpark(p_queue text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
as $$
begin
  update chatsync.lane_turns t
  set is_parked = false
  from chatsync.queue_lanes q
  where t.queue = p_queue and t.is_parked and t.parked_by is null and q.lane = t.lane
    and not chatsync.is_paused(q.queue, q.tenant_id, q.inbox_id, q.ordering_key);
  update chatsync.message_queue m
  set status = 'pending'
  where m.queue = p_queue and m.keyless_status = 'paused' and m.parked_by is null
    and not chatsync.is_paused(m.queue, m.tenant_id, m.inbox_id, m.ordering_key);
end
$$;

-- Called by claims that park. The pauses of a queue, which whoever resumes waits for, and then finds what
-- was parked under them; one that is being lifted at this moment is none any more.
create or replace function chatsync.hold_pauses(p_queue text) returns setof chatsync.queue_pauses
language sql
set search_path = pg_catalog, pg_temp
as $$
  select *
  from chatsync.queue_pauses
  where queue = p_queue and (paused_until is null or paused_until > chatsync.now())
  for key share skip locked
$$;

-- Called by claim_from_lanes() with turns that it has locked. Parks those that are paused and returns
-- the others, in their order.
create or replace function chatsync.park_lanes(p_queue text, p_lanes text[]) returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_parked text[];
begin
  select array_agg(q.lane) into v_parked
  from chatsync.queue_lanes q
  where q.lane = any (p_lanes) and exists (
    select
    from chatsync.hold_pauses(p_queue) as l
    where (l.tenant_id is null or l.tenant_id = q.tenant_id)
      and (l.inbox_id is null or l.inbox_id = q.inbox_id)
      and (l.ordering_key is null or l.ordering_key = q.ordering_key));
  if v_parked is null then
    return p_lanes;
  end if;
  update chatsync.lane_turns set is_parked = true where lane = any (v_parked);
  return (
    select array_agg(l.lane order by l.position)
    from unnest(p_lanes) with ordinality as l (lane, position)
    where not l.lane = any (v_parked));
end
$$;

-- Called by claim_keyless() with messages that it has locked, as park_lanes() is with turns.
create or replace function chatsync.park_messages(p_queue text, p_ids bigint[]) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_parked bigint[];
begin
  select array_agg(m.id) into v_parked
  from chatsync.message_queue m
  where m.id = any (p_ids) and exists (
    select
    from chatsync.hold_pauses(p_queue) as l
    where (l.tenant_id is null or l.tenant_id = m.tenant_id)
      and (l.inbox_id is null or l.inbox_id = m.inbox_id)
      and l.ordering_key is null);
  if v_parked is null then
    return p_ids;
  end if;
  update chatsync.message_queue set status = 'paused' where id = any (v_parked);
  return (
    select array_agg(i.id order by i.position)
    from unnest(p_ids) with ordinality as i (id, position)
    where not i.id = any (v_parked));
end
$$;

grant execute on function
  chatsync.pause(text, text, bigint, text, text, timestamptz),
  chatsync.resume(text, text, bigint, text)
to chatsync_operator, chatsync_worker;
grant execute on function
  chatsync.pause_at_least(text, text, bigint, text, text, timestamptz),
  chatsync.is_paused(text, text, bigint, text),
  chatsync.resume_due(text),
  chatsync.unpark(text),
  chatsync.hold_pauses(text),
  chatsync.park_lanes(text, text[]),
  chatsync.park_messages(text, bigint[])
to chatsync_worker;

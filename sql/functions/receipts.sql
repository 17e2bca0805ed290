-- Receipts: how far each device acknowledged, and which session has the device now.

-- Called by a gateway when sessions connect with devices, {tenant, user, device, session} each: they
-- have them from now on. Returns, in an order of its own, the position of each, nulls where it has none
-- or was last seen before p_days, and the session that is taken over, if one is open. A user keeps the
-- 100 devices that were seen last. Locks receipts in the order of their key.
create or replace function chatsync.take_devices(p_taken jsonb, p_days integer)
returns table (session text, epoch text, seq bigint, topics text[], taken_from text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_taken record;
  v_receipt chatsync.receipts;
  v_is_new boolean;
  v_has_new boolean := false;
begin
  for v_taken in
    select t.tenant, t."user", t.device, t.session
    from rows from (
      jsonb_to_recordset(p_taken) as (tenant text, "user" text, device text, session text)
    ) with ordinality as t (tenant, "user", device, session, position)
    order by t.tenant, t."user", t.device, t.position
  loop
    session := v_taken.session;
    epoch := null;
    seq := null;
    topics := null;
    taken_from := null;
    loop
      insert into chatsync.receipts (tenant_id, user_id, device, session_id)
      values (v_taken.tenant, v_taken."user", v_taken.device, v_taken.session)
      on conflict on constraint device_has_one_receipt do nothing;
      v_is_new := found;
      exit when v_is_new;
      select * into v_receipt
      from chatsync.receipts r
      where r.tenant_id = v_taken.tenant and r.user_id = v_taken."user" and r.device = v_taken.device
      for no key update;
      -- Forgotten between the two statements: once more.
      exit when found;
    end loop;
    if v_is_new then
      v_has_new := true;
    else
      if v_receipt.seen_at >= chatsync.now() - make_interval(days => p_days) then
        epoch := v_receipt.epoch;
        seq := v_receipt.seq;
        topics := v_receipt.topics;
      end if;
      if v_receipt.is_open then
        taken_from := v_receipt.session_id;
      end if;
      update chatsync.receipts r
      set session_id = v_taken.session, is_open = true, seen_at = chatsync.now(),
        epoch = take_devices.epoch, seq = take_devices.seq, topics = take_devices.topics
      where r.tenant_id = v_taken.tenant and r.user_id = v_taken."user"
        and r.device = v_taken.device;
    end if;
    return next;
  end loop;
  if v_has_new then
    perform chatsync.forget_surplus_devices(p_taken);
  end if;
end
$$;

-- Called by take_devices(), last, since it locks in no order: forgets what is too much of the users
-- that came with a device, but for the devices that they came with. Waits for nobody.
create or replace function chatsync.forget_surplus_devices(p_taken jsonb) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with taken as (
    select t.tenant, t."user", count(distinct t.device) as devices
    from jsonb_to_recordset(p_taken) as t (tenant text, "user" text, device text)
    group by t.tenant, t."user"
  )
  delete from chatsync.receipts r
  where (r.tenant_id, r.user_id, r.device) in (
    select s.tenant_id, s.user_id, s.device
    from taken t
    cross join lateral (
      select o.tenant_id, o.user_id, o.device
      from chatsync.receipts o
      where o.tenant_id = t.tenant and o.user_id = t."user"
        and not exists (
          select from jsonb_to_recordset(p_taken) as g (tenant text, "user" text, device text)
          where g.tenant = o.tenant_id and g."user" = o.user_id and g.device = o.device)
      order by o.seen_at desc, o.device
      offset greatest(0, 100 - t.devices)
      for update skip locked) as s)
$$;

-- take_devices() for one, for whoever asks by hand.
create or replace function chatsync.take_device(
  p_tenant_id text, p_user_id text, p_device text, p_session_id text, p_days integer,
  out epoch text, out seq bigint, out topics text[], out taken_from text)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select t.epoch, t.seq, t.topics, t.taken_from
  from chatsync.take_devices(
    jsonb_build_array(jsonb_build_object(
      'tenant', p_tenant_id, 'user', p_user_id, 'device', p_device, 'session', p_session_id)),
    p_days) as t
$$;

-- Which of the sessions, {tenant, user, device, session} each, no longer have their device. Called by
-- gateways now and then, and by write_receipts().
create or replace function chatsync.lost_devices(p_held jsonb) returns text[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(h.session), '{}')
  from jsonb_to_recordset(p_held) as h (tenant text, "user" text, device text, session text)
  join chatsync.receipts r
    on r.tenant_id = h.tenant and r.user_id = h."user" and r.device = h.device
  where r.session_id <> h.session
$$;

-- Called by a gateway about once a second for all its sessions that moved or ended: {tenant, user,
-- device, session, epoch?, seq?, topics?, isOpen} each. Only the session that has the device writes, a
-- position never goes back within an epoch, and one of a former life of the log is not kept.
-- Locks receipts in the order of their key. Returns the sessions that lost their device.
create or replace function chatsync.write_receipts(p_receipts jsonb) returns text[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into chatsync.receipts as r (
    tenant_id, user_id, device, session_id, is_open, epoch, seq, topics)
  select g.tenant, g."user", g.device, g.session, g."isOpen", s.epoch,
    case when s.epoch is not null then g.seq end,
    case when s.epoch is not null then g.topics end
  from jsonb_to_recordset(p_receipts) as g (
    tenant text, "user" text, device text, session text, epoch text, seq bigint, topics text[],
    "isOpen" boolean)
  left join chatsync.streams s on s.tenant_id = g.tenant and s.epoch = g.epoch
  order by g.tenant, g."user", g.device
  on conflict on constraint device_has_one_receipt do update
  set is_open = excluded.is_open,
    seen_at = excluded.seen_at,
    (epoch, seq, topics) = (
      select n.epoch, n.seq, n.topics
      from (values
        (r.epoch, r.seq, r.topics, false),
        (excluded.epoch, excluded.seq, excluded.topics, true)
      ) as n (epoch, seq, topics, is_new)
      order by n.epoch is null, n.epoch is distinct from excluded.epoch, n.seq desc, n.is_new desc
      limit 1)
  where r.session_id = excluded.session_id;
  return chatsync.lost_devices(p_receipts);
end
$$;

-- Called by workers once an hour: forgets devices that were not seen for so many days. A device whose
-- session has been open for longer without a word gets its receipt back with the next one.
create or replace function chatsync.forget_receipts(p_days integer) returns bigint
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with forgotten as (
    delete from chatsync.receipts r
    where (r.tenant_id, r.user_id, r.device) in (
      select o.tenant_id, o.user_id, o.device
      from chatsync.receipts o
      where o.seen_at < chatsync.now() - make_interval(days => p_days)
      order by o.tenant_id, o.user_id, o.device
      for update skip locked)
    returning 1
  )
  select count(*) from forgotten
$$;

-- Called by operators: how far each device of an agent has acknowledged the log as it is now. Null in
-- delivered_to: nothing of this life of the log; behind counts all events of the tenant.
create or replace function chatsync.delivered_to(p_tenant_id text, p_user_id text)
returns table (
  device text, delivered_to bigint, behind bigint, topics text[], is_open boolean,
  seen_at timestamptz)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select r.device, p.seq, s.head - p.seq, r.topics, r.is_open, r.seen_at
  from chatsync.receipts r
  join chatsync.stream_positions(array[p_tenant_id]) as s on s.tenant_id = r.tenant_id
  left join lateral (select r.seq where r.epoch = s.epoch) as p on true
  where r.tenant_id = p_tenant_id and r.user_id = p_user_id
  order by r.seen_at desc, r.device
$$;

-- Called by operators: to which agents an event was delivered, by the devices that hold one of its
-- topics and acknowledged it. No row for an event that is not in the log, or that nobody acknowledged.
create or replace function chatsync.receivers(p_tenant_id text, p_seq bigint)
returns table (user_id text, devices text[])
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select r.user_id, array_agg(r.device order by r.device)
  from chatsync.streams s
  join chatsync.event_log e on e.tenant_id = s.tenant_id and e.seq = p_seq
  join chatsync.receipts r
    on r.tenant_id = s.tenant_id and r.epoch = s.epoch and r.seq >= e.seq and r.topics && e.topics
  where s.tenant_id = p_tenant_id
  group by r.user_id
  order by r.user_id
$$;

-- Called by operators, for receivers(): the numbers of the events that brought a message and what
-- became of it, as far as the log reaches. Reads the tenant's log.
create or replace function chatsync.events_of_message(p_tenant_id text, p_message_id bigint)
returns table (seq bigint, type text, created_at timestamptz)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select e.seq, e.type, e.created_at
  from chatsync.event_log e
  where e.tenant_id = p_tenant_id
    and e.type like 'message:%'
    and p_message_id::text in (e.data ->> 'messageId', e.data -> 'message' ->> 'id')
  order by e.seq
$$;

grant execute on function
  chatsync.take_device(text, text, text, text, integer),
  chatsync.take_devices(jsonb, integer),
  chatsync.lost_devices(jsonb),
  chatsync.write_receipts(jsonb)
to chatsync_gateway, chatsync_worker;
grant execute on function chatsync.forget_receipts(integer) to chatsync_worker;
grant execute on function
  chatsync.delivered_to(text, text),
  chatsync.events_of_message(text, bigint),
  chatsync.receivers(text, bigint)
to chatsync_operator, chatsync_worker;

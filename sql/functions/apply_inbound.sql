-- The worker's way in: what a batch of deliveries says becomes true, all of it or nothing.

-- Called by the worker with the parsed items of a batch of deliveries, in order, and the contacts
-- that they refer to by key. Idempotent: items that were applied before change nothing.
-- Lock order: provider id buckets, contacts, conversations, messages, inboxes; each by id.
-- Raises 40001 when another transaction was faster: the caller runs the batch again.
create or replace function chatsync.apply_inbound(p_contacts jsonb, p_items jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_items chatsync.inbound_item[];
  v_new chatsync.inbound_item[];
  v_late chatsync.inbound_item[];
  v_contacts record;
  v_stored record;
  v_read chatsync.entity[];
begin
  select array_agg(i order by i.position),
    array_agg(i order by i.position) filter (where i.kind <> 'message' or i.direction = 'OUTBOUND')
  into v_items, v_late
  from jsonb_populate_recordset(null::chatsync.inbound_item, p_items) as i;
  if v_late is not null then
    perform chatsync.hold_provider_ids(v_items);
  end if;
  select * into v_contacts from chatsync.resolve_contacts(p_contacts);
  v_new := chatsync.unknown_messages(v_items);
  if v_new is not null then
    select * into v_stored from chatsync.store_messages(v_new, v_contacts.contact_ids);
  else
    select null::text[] as tenant_ids, null::bigint[] as message_ids, null::text[] as correlation_ids,
      null::text[] as touched_tenant_ids, null::bigint[] as touched_ids,
      null::text[] as touched_correlation_ids, null::bigint[] as made, null::bigint[] as reopened
    into v_stored;
  end if;
  -- What is known of an older message than the batch's: its statuses and changes, and what waited for
  -- a message that has come now.
  v_late := array(
      select i from unnest(v_items) as i
      where i.kind <> 'message' or (
        (i.direction = 'OUTBOUND' or i.origin = 'history')
        and i.position not in (select n.position from unnest(v_new) as n)))
    || chatsync.adopted_orphans(v_new);
  if cardinality(v_late) > 0 then
    v_read := chatsync.apply_late(v_late, coalesce(v_stored.message_ids, '{}'));
  end if;
  perform chatsync.publish_stored(
    v_stored.tenant_ids, v_stored.message_ids, v_stored.correlation_ids,
    v_stored.touched_tenant_ids, v_stored.touched_ids, v_stored.touched_correlation_ids,
    v_stored.made, v_stored.reopened, v_contacts.conversations, v_read);
  if v_contacts.changed is not null or v_contacts.made is not null then
    perform chatsync.publish_contacts(
      v_contacts.changed || chatsync.told_contacts(v_items, v_contacts.contact_ids, v_contacts.made));
  end if;
end
$$;

-- Called by process_deliveries(). p_rejected holds the items that no parser understood. Returns whether a
-- lane of the batch has further work.
create or replace function chatsync.apply_inbound_and_settle(
  p_contacts jsonb, p_items jsonb, p_rejected jsonb, p_lease_id bigint, p_done bigint[],
  p_is_part boolean
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  if jsonb_array_length(p_rejected) > 0 then
    perform chatsync.reject_items(p_rejected);
  end if;
  if jsonb_array_length(p_items) > 0 then
    perform chatsync.apply_inbound(p_contacts, p_items);
  end if;
  return chatsync.settle(p_lease_id, p_done, p_is_part => p_is_part);
end
$$;

-- Called by the worker with items that nobody can process: [{tenant_id, inbox_id, correlation_id, item,
-- reason}]. Each becomes a dead letter.
create or replace function chatsync.reject_items(p_rejected jsonb) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.failed_messages (
    queue, tenant_id, inbox_id, correlation_id, message_type, payload, summary, error_message)
  select 'inbound', r.tenant_id, r.inbox_id, r.correlation_id, 'item',
    convert_to(r.item::text, 'UTF8'), r.item, r.reason
  from jsonb_to_recordset(p_rejected)
    as r (tenant_id text, inbox_id bigint, correlation_id text, item jsonb, reason text)
$$;

-- Called by apply_inbound() and join_orphans() with all that is not a new message, in order. Of p_new
-- nothing is announced, since message:new will show it. Returns the conversations that changed.
create or replace function chatsync.apply_late(
  p_items chatsync.inbound_item[], p_new bigint[]
) returns chatsync.entity[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_items chatsync.inbound_item[] := chatsync.unprocessed_items(p_items);
  v_some chatsync.inbound_item[];
  v_changed record;
  v_conversations chatsync.entity[];
begin
  v_some := array(select i from unnest(v_items) as i where i.kind = 'read');
  if cardinality(v_some) > 0 then
    select * into v_changed from chatsync.apply_reads(v_some);
    perform chatsync.publish_statuses(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids, p_new);
    v_conversations := v_changed.conversations;
  end if;
  v_some := array(
    select i from unnest(v_items) as i
    where i.kind = 'status' or (i.kind = 'message' and i.status is not null));
  if cardinality(v_some) > 0 then
    select * into v_changed from chatsync.apply_statuses(v_some);
    perform chatsync.publish_statuses(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids, p_new);
  end if;
  v_some := array(
    select i from unnest(v_items) as i
    where i.kind in ('edit', 'revoke', 'reaction', 'played', 'call')
      or (i.kind = 'message' and i.origin = 'history')
    order by i.position);
  if cardinality(v_some) > 0 then
    select array_agg(c.tenant_id) as tenant_ids, array_agg(c.message_id) as message_ids,
      array_agg(c.correlation_id) as correlation_ids
    into v_changed
    from (
      select distinct on (a.message_id) a.*
      from chatsync.apply_amendments(v_some) as c
      cross join lateral unnest(c.tenant_ids, c.message_ids, c.correlation_ids)
        as a (tenant_id, message_id, correlation_id)
      where not a.message_id = any (p_new)
      order by a.message_id
    ) as c;
    perform chatsync.publish_changed_messages(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids);
  end if;
  v_some := array(select i from unnest(v_items) as i where i.kind = 'reply');
  if cardinality(v_some) > 0 then
    select r.tenant_ids, r.message_ids, r.correlation_ids into v_changed
    from chatsync.apply_replies(v_some) as r;
    perform chatsync.publish_changed_messages(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids);
  end if;
  v_some := array(select i from unnest(v_items) as i where i.kind in ('connection', 'notice'));
  if cardinality(v_some) > 0 then
    perform chatsync.apply_inbox_news(v_some);
  end if;
  return v_conversations;
end
$$;

-- Called by apply_inbound(). Takes what waited for messages that are known now out of the orphans.
create or replace function chatsync.adopted_orphans(p_items chatsync.inbound_item[])
returns chatsync.inbound_item[]
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_found chatsync.inbound_item[];
begin
  with adopted as (
    delete from chatsync.orphans o
    using unnest(p_items) as i
    where o.tenant_id = i.tenant_id and o.inbox_id = i.inbox_id
      and o.provider_message_id = i.provider_message_id
    returning o.item, o.received_at
  )
  -- They were counted among the processed when they were parked. What came earlier stands before the
  -- batch, in the order in which it came.
  select array_agg(jsonb_populate_record(null::chatsync.inbound_item, (a.item - 'item_id')
    || jsonb_build_object('position', a.place - 1000000000)))
  into v_found
  from (
    select d.item, row_number() over (
      order by (d.item ->> 'occurred_at')::timestamptz, d.received_at, (d.item ->> 'position')::integer)
      as place
    from adopted d
  ) as a;
  return v_found;
end
$$;

-- Called by apply_inbound(). Contacts that were made because somebody spoke of them, not to them.
create or replace function chatsync.told_contacts(
  p_items chatsync.inbound_item[], p_contact_ids bigint[], p_made bigint[]
) returns chatsync.entity[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg((i.tenant_id, p_contact_ids[i.contact_key + 1])::chatsync.entity)
  from unnest(p_items) as i
  where i.kind = 'contact' and p_contact_ids[i.contact_key + 1] = any (p_made)
$$;

-- Called now and then by each worker: what came in the last minutes and waits for a message that is
-- known. Nothing should, since whoever learns an id takes what waits for it.
create or replace function chatsync.join_orphans(p_minutes integer default 10) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_items chatsync.inbound_item[];
begin
  select array_agg(jsonb_populate_record(null::chatsync.inbound_item, w.item - 'item_id'))
  into v_items
  from (
    select o.item
    from chatsync.orphans o
    cross join lateral (
      select
      from chatsync.message_provider_ids k
      where k.tenant_id = o.tenant_id and k.inbox_id = o.inbox_id
        and k.provider_message_id = o.provider_message_id
      limit 1
    ) as k
    where o.received_at > chatsync.now() - make_interval(mins => p_minutes)
    limit 1000
  ) as w;
  if v_items is null then
    return 0;
  end if;
  perform chatsync.hold_provider_ids(v_items);
  perform chatsync.publish_stored(null, null, null, null, null, null, null, null, null,
    chatsync.apply_late(chatsync.adopted_orphans(v_items), '{}'));
  return cardinality(v_items);
end
$$;

grant execute on function
  chatsync.apply_inbound(jsonb, jsonb),
  chatsync.apply_inbound_and_settle(jsonb, jsonb, jsonb, bigint, bigint[], boolean),
  chatsync.reject_items(jsonb),
  chatsync.apply_late(chatsync.inbound_item[], bigint[]),
  chatsync.adopted_orphans(chatsync.inbound_item[]),
  chatsync.told_contacts(chatsync.inbound_item[], bigint[], bigint[]),
  chatsync.join_orphans(integer)
to chatsync_worker;

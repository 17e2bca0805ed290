-- The worker's way in: what a batch of deliveries says becomes true, all of it or nothing.

-- Called by the worker with the parsed items of a batch of deliveries, in order, and the contacts
-- that they refer to by key. Idempotent: items that were applied before change nothing.
-- Lock order: provider id buckets, contacts, conversations, messages, inboxes; each by id.
-- Raises 40001 when another transaction was faster: the caller runs the batch again.
create or replace function chatsync.apply_inbound(p_contacts jsonb, p_items jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_items chatsync.inbound_item[];
  v_new chatsync.inbound_item[];
  v_late chatsync.inbound_item[];
  v_contacts record;
  v_stored record;
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

  perform chatsync.publish_stored(
    v_stored.tenant_ids, v_stored.message_ids, v_stored.correlation_ids, v_stored.touched_tenant_ids,
    v_stored.touched_ids, v_stored.touched_correlation_ids, v_stored.made, v_stored.reopened,
    v_contacts.conversations);
  -- What is known of an older message than the batch's: its statuses and changes, and what waited for
  -- a message that has come now.
  v_late := array(
      select i from unnest(v_items) as i
      where i.kind <> 'message' or (
        (i.direction = 'OUTBOUND' or i.origin = 'history')
        and (i.inbox_id, i.provider_message_id) not in (
          select n.inbox_id, n.provider_message_id from unnest(v_new) as n)))
    || chatsync.adopted_orphans(v_new);
  if cardinality(v_late) > 0 then
    perform chatsync.apply_late(v_late);
  end if;
  perform chatsync.publish_contacts(
    v_contacts.changed || chatsync.told_contacts(v_items, v_contacts.contact_ids, v_contacts.made));
end
$$;

-- Called by apply_inbound() after messages were stored and contacts were merged.
create or replace function chatsync.publish_stored(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[], p_touched_tenant_ids text[],
  p_touched_ids bigint[], p_touched_correlation_ids text[], p_made bigint[], p_reopened bigint[],
  p_merged chatsync.entity[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new record;
  v_old record;
begin
  select array_agg(t.tenant_id) as tenant_ids, array_agg(t.id) as ids,
    array_agg(t.correlation_id) as correlation_ids
  into v_new
  from unnest(p_touched_tenant_ids, p_touched_ids, p_touched_correlation_ids)
    as t (tenant_id, id, correlation_id)
  where t.id = any (p_made);
  select array_agg(t.tenant_id) as tenant_ids, array_agg(t.id) as ids,
    array_agg(t.correlation_id) as correlation_ids
  into v_old
  from (
    select distinct on (t.id) t.*
    from (
      select * from unnest(p_touched_tenant_ids, p_touched_ids, p_touched_correlation_ids)
        as t (tenant_id, id, correlation_id)
      union all
      select m.tenant_id, m.id, null from unnest(p_merged) as m
    ) as t
    where not t.id = any (coalesce(p_made, '{}'))
    order by t.id, t.correlation_id nulls last
  ) as t;
  if v_new.ids is not null then
    perform chatsync.publish_conversations(
      v_new.tenant_ids, v_new.ids, v_new.correlation_ids, true, '{}');
  end if;
  if p_message_ids is not null then
    perform chatsync.publish_messages(p_tenant_ids, p_message_ids, p_correlation_ids, 'message:new');
  end if;
  if v_old.ids is not null then
    perform chatsync.publish_conversations(
      v_old.tenant_ids, v_old.ids, v_old.correlation_ids, false,
      p_reopened || array(select m.id from unnest(p_merged) as m));
  end if;
end
$$;

-- Called by apply_inbound() and join_orphans() with all that is not a new message, in order.
create or replace function chatsync.apply_late(p_items chatsync.inbound_item[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_items chatsync.inbound_item[] := chatsync.unprocessed_items(p_items);
  v_some chatsync.inbound_item[];
  v_changed record;
begin
  v_some := array(select i from unnest(v_items) as i where i.kind = 'read');
  if cardinality(v_some) > 0 then
    select * into v_changed from chatsync.apply_reads(v_some);
    perform chatsync.publish_statuses(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids);
    perform chatsync.publish_conversations(
      array_agg(v.tenant_id), array_agg(v.id), array_agg(null::text), false, '{}')
    from (select distinct v.tenant_id, v.id from unnest(v_changed.conversations) as v) as v;
  end if;
  v_some := array(
    select i from unnest(v_items) as i
    where i.kind = 'status' or (i.kind = 'message' and i.status is not null));
  if cardinality(v_some) > 0 then
    select * into v_changed from chatsync.apply_statuses(v_some);
    perform chatsync.publish_statuses(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids);
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
      order by a.message_id
    ) as c;
    perform chatsync.publish_messages(
      v_changed.tenant_ids, v_changed.message_ids, v_changed.correlation_ids, 'message:updated');
  end if;
  v_some := array(select i from unnest(v_items) as i where i.kind in ('connection', 'notice'));
  if cardinality(v_some) > 0 then
    perform chatsync.apply_inbox_news(v_some);
  end if;
end
$$;

-- Called by apply_inbound(). Takes what waited for messages that are known now out of the orphans.
create or replace function chatsync.adopted_orphans(p_items chatsync.inbound_item[])
returns chatsync.inbound_item[]
language plpgsql
set search_path = pg_catalog, pg_temp
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
    returning o.item
  )
  -- They were counted among the processed when they were parked.
  select array_agg(
    jsonb_populate_record(null::chatsync.inbound_item, a.item - 'item_id')
    order by a.item -> 'occurred_at')
  into v_found
  from adopted a;
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

-- Called now and then by each worker: what waits for a message that is known. Nothing should, since
-- whoever learns an id takes what waits for it.
create or replace function chatsync.join_orphans() returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_items chatsync.inbound_item[];
begin
  select array_agg(jsonb_populate_record(null::chatsync.inbound_item, w.item - 'item_id'))
  into v_items
  from (
    select o.item
    from chatsync.orphans o
    join chatsync.message_provider_ids k
      on k.tenant_id = o.tenant_id and k.inbox_id = o.inbox_id
        and k.provider_message_id = o.provider_message_id
    limit 1000
  ) as w;
  if v_items is null then
    return 0;
  end if;
  perform chatsync.hold_provider_ids(v_items);
  perform chatsync.apply_late(chatsync.adopted_orphans(v_items));
  return cardinality(v_items);
end
$$;

grant execute on function
  chatsync.apply_inbound(jsonb, jsonb),
  chatsync.publish_stored(
    text[], bigint[], text[], text[], bigint[], text[], bigint[], bigint[], chatsync.entity[]),
  chatsync.apply_late(chatsync.inbound_item[]),
  chatsync.adopted_orphans(chatsync.inbound_item[]),
  chatsync.told_contacts(chatsync.inbound_item[], bigint[], bigint[]),
  chatsync.join_orphans()
to chatsync_worker;

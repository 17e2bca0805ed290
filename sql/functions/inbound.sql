-- What providers sent becomes contacts, conversations, messages and events, in one transaction with
-- the settlement of its delivery.

-- Called by apply_inbound(). Holds the advisory bucket of each provider id that is looked up, or
-- learned for a message of ours: of a status that finds no message and a sender that finds no status,
-- one waits for the other. Lock order: buckets by number, before any row.
create or replace function chatsync.hold_provider_ids(p_items chatsync.inbound_item[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(b.bucket)
  from (
    select distinct
      x'6300000000000000'::bigint + i.inbox_id * 256 + (hashtext(i.provider_message_id) & 255) as bucket
    from unnest(p_items) as i
    where i.provider_message_id is not null and (i.kind <> 'message' or i.direction = 'OUTBOUND')
    order by 1
  ) as b;
end
$$;

-- Called by apply_inbound(). The items that bring a message whose provider id is not known yet.
create or replace function chatsync.unknown_messages(p_items chatsync.inbound_item[])
returns chatsync.inbound_item[]
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select array_agg(f.item order by (f.item).position)
    from (
      select distinct on (i.inbox_id, i.provider_message_id) i as item
      from unnest(p_items) as i
      left join lateral (
        select true as is_known
        from chatsync.message_provider_ids k
        where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
          and k.provider_message_id = i.provider_message_id
        limit 1
      ) as k on true
      where i.kind in ('message', 'call') and k.is_known is null
      order by i.inbox_id, i.provider_message_id, i.position
    ) as f);
end
$$;

-- Called by apply_inbound() with messages whose provider ids are unknown, and the contacts by key.
-- Finds their conversations, stores them, and counts what is unread. The rest is what to announce.
-- Uniqueness is the primary key of message_provider_ids, whatever the queue delivered twice.
create or replace function chatsync.store_messages(
  p_items chatsync.inbound_item[], p_contact_ids bigint[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[],
  out touched_tenant_ids text[], out touched_ids bigint[], out touched_correlation_ids text[],
  out made bigint[], out reopened bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_threads record;
  v_held record;
  v_added record;
begin
  select array_agg(t.tenant_id) as tenant_ids, array_agg(t.inbox_id) as inbox_ids,
    array_agg(t.contact_id) as contact_ids, array_agg(t.opens) as opens, array_agg(t.shows) as shows,
    array_agg(t.last_at) as last_ats
  into v_threads
  from (
    select i.tenant_id, i.inbox_id, p_contact_ids[coalesce(i.thread_key, i.contact_key) + 1] as contact_id,
      bool_or(chatsync.is_unread(i)) as opens,
      bool_or(i.type <> 'SYSTEM' and i.origin <> 'history') as shows,
      max(i.occurred_at) as last_at
    from unnest(p_items) as i
    group by 1, 2, 3
  ) as t;
  select * into v_held
  from chatsync.hold_conversations(
    v_threads.tenant_ids, v_threads.inbox_ids, v_threads.contact_ids, v_threads.opens,
    v_threads.shows, v_threads.last_ats);
  made := v_held.made;
  reopened := v_held.reopened;

  select * into v_added
  from chatsync.insert_messages(
    p_items, p_contact_ids, v_threads.inbox_ids, v_threads.contact_ids, v_held.conversation_ids);
  tenant_ids := v_added.tenant_ids;
  message_ids := v_added.message_ids;
  correlation_ids := v_added.correlation_ids;
  touched_tenant_ids := v_added.touched_tenant_ids;
  touched_ids := v_added.touched_ids;
  touched_correlation_ids := v_added.touched_correlation_ids;
  if touched_ids is not null then
    perform chatsync.touch_conversations(
      touched_tenant_ids, touched_ids, v_added.unread, v_added.last_ids, v_added.last_ats);
  end if;
end
$$;

-- Only what a contact says now is unread; history, notices and what the business said are not.
create or replace function chatsync.is_unread(p_item chatsync.inbound_item) returns boolean
language sql immutable parallel safe
return p_item.direction = 'INBOUND' and p_item.origin = 'live' and p_item.type <> 'SYSTEM';

-- Called by store_messages(), with the conversation of each (inbox, contact) thread locked.
create or replace function chatsync.insert_messages(
  p_items chatsync.inbound_item[], p_contact_ids bigint[], p_inbox_ids bigint[],
  p_thread_contact_ids bigint[], p_conversation_ids bigint[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[],
  out touched_tenant_ids text[], out touched_ids bigint[], out touched_correlation_ids text[],
  out unread integer[], out last_ids bigint[], out last_ats timestamptz[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
-- Of arrays the planner expects ten elements, and would compare each with each.
set enable_nestloop = off
set plan_cache_mode = force_generic_plan
as $$
begin
  -- Numbered before it is joined: ids follow the items' order, whatever the plan of the join.
  with ordered as materialized (
    select o.*, nextval('chatsync.messages_message_id_seq') as message_id,
      case
        when o.status is not null then o.status
        when o.direction = 'OUTBOUND' then 'SENT'
        when chatsync.is_unread(o) then 'DELIVERED'
        else 'READ'
      end as first_status
    from (select u.* from unnest(p_items) as u order by u.position) as o
  ),
  numbered as materialized (
    select i.*, t.conversation_id
    from ordered i
    join unnest(p_inbox_ids, p_thread_contact_ids, p_conversation_ids)
      as t (inbox_id, contact_id, conversation_id)
      on t.inbox_id = i.inbox_id
        and t.contact_id = p_contact_ids[coalesce(i.thread_key, i.contact_key) + 1]
  ),
  learned as (
    insert into chatsync.message_provider_ids (tenant_id, inbox_id, provider_message_id, message_id)
    select n.tenant_id, n.inbox_id, n.provider_message_id, n.message_id
    from numbered n
    order by n.tenant_id, n.inbox_id, n.provider_message_id
    on conflict do nothing
    returning message_id
  ),
  stored as (
    insert into chatsync.messages (
      tenant_id, message_id, conversation_id, inbox_id, contact_id, provider_message_id, direction,
      type, content, metadata, status, origin, sent_at, position, reply_to, is_placeholder)
    select n.tenant_id, n.message_id, n.conversation_id, n.inbox_id,
      p_contact_ids[coalesce(n.contact_key, n.thread_key) + 1],
      n.provider_message_id, n.direction, n.type, n.content,
      -- What it answers may be older than this inbox: its provider's id is kept, at least.
      case when n.reply_to is not null and r.message_id is null and s.message_id is null
        then n.metadata || jsonb_build_object('replyTo', n.reply_to) else n.metadata end,
      n.first_status, n.origin, n.occurred_at, n.message_id, coalesce(r.message_id, s.message_id),
      coalesce(n.is_placeholder, false)
    from numbered n
    join learned l on l.message_id = n.message_id
    left join lateral (
      select k.message_id
      from chatsync.message_provider_ids k
      where k.tenant_id = n.tenant_id and k.inbox_id = n.inbox_id
        and k.provider_message_id = n.reply_to
      limit 1
    ) as r on n.reply_to is not null
    left join numbered s on s.inbox_id = n.inbox_id and s.provider_message_id = n.reply_to
    returning tenant_id, message_id, conversation_id, sent_at, position, reply_to,
      direction = 'INBOUND' and status = 'DELIVERED' as is_unread
  ),
  waiting as (
    insert into chatsync.orphans (tenant_id, inbox_id, provider_message_id, item_key, item)
    select n.tenant_id, n.inbox_id, n.reply_to, 'reply:' || n.message_id,
      jsonb_build_object(
        'kind', 'reply', 'tenant_id', n.tenant_id, 'inbox_id', n.inbox_id, 'position', n.position,
        'correlation_id', n.correlation_id, 'provider_message_id', n.reply_to,
        'occurred_at', n.occurred_at, 'data', jsonb_build_object('messageId', n.message_id))
    from stored s
    join numbered n on n.message_id = s.message_id
    where n.reply_to is not null and s.reply_to is null
    on conflict do nothing
  ),
  announced as (
    select s.*, n.correlation_id
    from stored s
    join numbered n on n.message_id = s.message_id
  ),
  touched as (
    select tenant_id, conversation_id, count(*) filter (where is_unread) as unread,
      (array_agg(message_id order by sent_at desc, position desc))[1] as last_id,
      max(sent_at) as last_at, (array_agg(correlation_id order by message_id desc))[1] as correlation_id
    from announced
    group by tenant_id, conversation_id
  )
  select a.tenant_ids, a.message_ids, a.correlation_ids, t.*
  into tenant_ids, message_ids, correlation_ids, touched_tenant_ids, touched_ids,
    touched_correlation_ids, unread, last_ids, last_ats
  from (
    select array_agg(tenant_id order by message_id) as tenant_ids,
      array_agg(message_id order by message_id) as message_ids,
      array_agg(correlation_id order by message_id) as correlation_ids
    from announced
  ) as a
  cross join (
    select array_agg(u.tenant_id), array_agg(u.conversation_id), array_agg(u.correlation_id),
      array_agg(u.unread), array_agg(u.last_id), array_agg(u.last_at)
    from touched u
  ) as t;
end
$$;

grant execute on function
  chatsync.hold_provider_ids(chatsync.inbound_item[]),
  chatsync.unknown_messages(chatsync.inbound_item[]),
  chatsync.store_messages(chatsync.inbound_item[], bigint[]),
  chatsync.is_unread(chatsync.inbound_item),
  chatsync.insert_messages(chatsync.inbound_item[], bigint[], bigint[], bigint[], bigint[])
to chatsync_worker;

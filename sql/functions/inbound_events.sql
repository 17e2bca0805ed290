-- The events of what apply_inbound() changed, published last, with every row still locked: an event
-- carries the version that its update returned (protocol §4).

create or replace function chatsync.publish_messages(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[]
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select m.tenant_id,
    array['tenant:' || m.tenant_id, 'conversation:' || m.conversation_id]
      || case when v.assignee_id is not null then array['user:' || v.assignee_id] else '{}' end,
    'message:new',
    jsonb_build_object('conversationId', m.conversation_id::text, 'message', m.message),
    w.correlation_id
  from unnest(p_tenant_ids, p_message_ids, p_correlation_ids)
    with ordinality as w (tenant_id, message_id, correlation_id, position)
  join chatsync.wire_messages m on m.tenant_id = w.tenant_id and m.message_id = w.message_id
  join chatsync.conversations v
    on v.tenant_id = m.tenant_id and v.conversation_id = m.conversation_id
  order by w.position
$$;

create or replace function chatsync.publish_statuses(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[]
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select m.tenant_id,
    array['tenant:' || m.tenant_id, 'conversation:' || m.conversation_id],
    'message:status-update',
    jsonb_build_object(
      'conversationId', m.conversation_id::text,
      'messageId', m.message_id::text,
      'status', m.status,
      'version', m.version
    ) || jsonb_strip_nulls(jsonb_build_object('clientId', m.client_id, 'error', m.error)),
    w.correlation_id
  from unnest(p_tenant_ids, p_message_ids, p_correlation_ids)
    with ordinality as w (tenant_id, message_id, correlation_id, position)
  join chatsync.messages m on m.tenant_id = w.tenant_id and m.message_id = w.message_id
  order by w.position
$$;

create or replace function chatsync.publish_new_conversations(
  p_tenant_ids text[], p_conversation_ids bigint[], p_correlation_ids text[]
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select v.tenant_id,
    array['tenant:' || v.tenant_id]
      || case when v.assignee_id is not null then array['user:' || v.assignee_id] else '{}' end,
    'conversation:new',
    jsonb_build_object('conversation', v.conversation),
    w.correlation_id
  from unnest(p_tenant_ids, p_conversation_ids, p_correlation_ids)
    as w (tenant_id, conversation_id, correlation_id)
  join chatsync.wire_conversations v
    on v.tenant_id = w.tenant_id and v.conversation_id = w.conversation_id
  order by v.conversation_id
$$;

-- What new messages change of a conversation that was there; once a conversation.
create or replace function chatsync.publish_touched_conversations(
  p_tenant_ids text[], p_conversation_ids bigint[], p_correlation_ids text[]
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select v.tenant_id,
    array['tenant:' || v.tenant_id, 'conversation:' || v.conversation_id]
      || case when v.assignee_id is not null then array['user:' || v.assignee_id] else '{}' end,
    'conversation:updated',
    jsonb_build_object(
      'conversationId', v.conversation_id::text,
      'conversation', v.conversation,
      'updates', jsonb_build_object(
        'unreadCount', v.conversation -> 'unreadCount',
        'lastMessage', v.conversation -> 'lastMessage',
        'lastMessageAt', v.conversation -> 'lastMessageAt')),
    w.correlation_id
  from unnest(p_tenant_ids, p_conversation_ids, p_correlation_ids)
    as w (tenant_id, conversation_id, correlation_id)
  join chatsync.wire_conversations v
    on v.tenant_id = w.tenant_id and v.conversation_id = w.conversation_id
  order by v.conversation_id
$$;

create or replace function chatsync.publish_contacts(p_tenant_ids text[], p_contact_ids bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data)
  select c.tenant_id, array['tenant:' || c.tenant_id], 'contact:updated',
    jsonb_build_object('contact', c.contact)
  from unnest(p_tenant_ids, p_contact_ids) as w (tenant_id, contact_id)
  join chatsync.wire_contacts c on c.tenant_id = w.tenant_id and c.contact_id = w.contact_id
  order by c.contact_id
$$;

-- Called by the worker with the parsed items of a batch of deliveries, in order, and the contacts
-- that they refer to by key. Idempotent: items that were applied before change nothing.
-- Lock order: provider id buckets, contacts, conversations, messages; each by id.
create or replace function chatsync.apply_inbound(p_contacts jsonb, p_items jsonb) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_items chatsync.inbound_item[];
  v_contacts jsonb;
  v_updated record;
  v_new record;
  v_touched record;
  v_climbed record;
begin
  select array_agg(i order by i.position) into v_items
  from jsonb_populate_recordset(null::chatsync.inbound_item, p_items) as i;
  perform chatsync.hold_provider_ids(v_items);

  select jsonb_object_agg(c.contact_key::text, c.contact_id) as ids,
    array_agg(c.tenant_id) filter (where c.was_updated) as tenant_ids,
    array_agg(c.contact_id) filter (where c.was_updated) as contact_ids
  into v_updated
  from chatsync.resolve_contacts(p_contacts) as c;
  v_contacts := v_updated.ids;

  select array_agg(s.tenant_id) as tenant_ids, array_agg(s.message_id) as message_ids,
    array_agg(s.conversation_id) as conversation_ids, array_agg(s.is_new_conversation) as are_new,
    array_agg(s.correlation_id) as correlation_ids
  into v_new
  from chatsync.store_messages(v_items, v_contacts) as s;

  select array_agg(s.tenant_id) as tenant_ids, array_agg(s.message_id) as message_ids,
    array_agg(s.correlation_id) as correlation_ids
  into v_climbed
  from chatsync.apply_statuses(v_items) as s
  -- A message that is new carries its status in message:new.
  where v_new.message_ids is null or not s.message_id = any (v_new.message_ids);

  if v_updated.contact_ids is not null then
    perform chatsync.publish_contacts(v_updated.tenant_ids, v_updated.contact_ids);
  end if;
  if v_new.message_ids is not null then
    perform chatsync.touch_conversations(v_new.tenant_ids, v_new.message_ids);
    select
      array_agg(v.tenant_id) filter (where v.is_new) as new_tenant_ids,
      array_agg(v.conversation_id) filter (where v.is_new) as new_ids,
      array_agg(v.correlation_id) filter (where v.is_new) as new_correlation_ids,
      array_agg(v.tenant_id) filter (where not v.is_new) as old_tenant_ids,
      array_agg(v.conversation_id) filter (where not v.is_new) as old_ids,
      array_agg(v.correlation_id) filter (where not v.is_new) as old_correlation_ids
    into v_touched
    from (
      select distinct on (w.conversation_id) w.*
      from unnest(
        v_new.tenant_ids, v_new.conversation_ids, v_new.are_new, v_new.correlation_ids
      ) with ordinality as w (tenant_id, conversation_id, is_new, correlation_id, position)
      order by w.conversation_id, w.position desc
    ) as v;
    perform chatsync.publish_new_conversations(
      v_touched.new_tenant_ids, v_touched.new_ids, v_touched.new_correlation_ids);
    perform chatsync.publish_messages(v_new.tenant_ids, v_new.message_ids, v_new.correlation_ids);
    perform chatsync.publish_touched_conversations(
      v_touched.old_tenant_ids, v_touched.old_ids, v_touched.old_correlation_ids);
  end if;
  if v_climbed.message_ids is not null then
    perform chatsync.publish_statuses(
      v_climbed.tenant_ids, v_climbed.message_ids, v_climbed.correlation_ids);
  end if;
end
$$;

grant execute on function
  chatsync.hold_provider_ids(chatsync.inbound_item[]),
  chatsync.hold_conversations(text[], bigint[], bigint[]),
  chatsync.store_messages(chatsync.inbound_item[], jsonb),
  chatsync.apply_statuses(chatsync.inbound_item[]),
  chatsync.touch_conversations(text[], bigint[]),
  chatsync.publish_messages(text[], bigint[], text[]),
  chatsync.publish_statuses(text[], bigint[], text[]),
  chatsync.publish_new_conversations(text[], bigint[], text[]),
  chatsync.publish_touched_conversations(text[], bigint[], text[]),
  chatsync.publish_contacts(text[], bigint[]),
  chatsync.apply_inbound(jsonb, jsonb)
to chatsync_worker;

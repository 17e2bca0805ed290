-- The events of what apply_inbound() changed, published last, with every row still locked: an event
-- carries the version that its update returned (protocol §4). Rows are read one by one, by their keys.

create or replace function chatsync.publish_messages(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[], p_type text
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select m.tenant_id,
    array['tenant:' || m.tenant_id, 'conversation:' || m.conversation_id]
      || case when p_type = 'message:new' and m.assignee_id is not null
        then array['user:' || m.assignee_id] else '{}' end,
    p_type,
    jsonb_build_object('conversationId', m.conversation_id::text, 'message', m.message),
    w.correlation_id
  from unnest(p_tenant_ids, p_message_ids, p_correlation_ids)
    with ordinality as w (tenant_id, message_id, correlation_id, position)
  cross join lateral (
    select m.tenant_id, m.conversation_id, m.message, v.assignee_id
    from chatsync.wire_messages m
    cross join lateral (
      select v.assignee_id
      from chatsync.conversations v
      where v.tenant_id = m.tenant_id and v.conversation_id = m.conversation_id
      limit 1
    ) as v
    where m.tenant_id = w.tenant_id and m.message_id = w.message_id
    limit 1
  ) as m
  order by w.position;
end
$$;

create or replace function chatsync.publish_statuses(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
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
  cross join lateral (
    select m.*
    from chatsync.messages m
    where m.tenant_id = w.tenant_id and m.message_id = w.message_id
    limit 1
  ) as m
  order by w.position;
end
$$;

-- conversation:new for those that were made, conversation:updated for those that were there: what
-- messages change of them and, of those whose state changed, that too; once a conversation.
create or replace function chatsync.publish_conversations(
  p_tenant_ids text[], p_conversation_ids bigint[], p_correlation_ids text[], p_are_new boolean,
  p_restated bigint[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select w.tenant_id,
    array['tenant:' || w.tenant_id]
      || case when p_are_new then '{}' else array['conversation:' || w.conversation_id] end
      || case when v.assignee_id is not null then array['user:' || v.assignee_id] else '{}' end,
    case when p_are_new then 'conversation:new' else 'conversation:updated' end,
    case
      when p_are_new then jsonb_build_object('conversation', v.conversation)
      else jsonb_build_object(
        'conversationId', w.conversation_id::text,
        'conversation', v.conversation,
        'updates', jsonb_build_object(
          'unreadCount', v.conversation -> 'unreadCount',
          'lastMessage', v.conversation -> 'lastMessage',
          'lastMessageAt', v.conversation -> 'lastMessageAt')
        || case when w.conversation_id = any (p_restated)
          then jsonb_strip_nulls(jsonb_build_object(
            'status', v.conversation -> 'status',
            'contact', v.conversation -> 'contact',
            'assigneeId', v.conversation -> 'assigneeId',
            'mergedInto', v.conversation -> 'mergedInto'))
          else '{}' end)
    end,
    w.correlation_id
  from unnest(p_tenant_ids, p_conversation_ids, p_correlation_ids)
    as w (tenant_id, conversation_id, correlation_id)
  cross join lateral (
    select v.conversation, v.assignee_id
    from chatsync.wire_conversations v
    where v.tenant_id = w.tenant_id and v.conversation_id = w.conversation_id
    limit 1
  ) as v
  order by w.conversation_id;
end
$$;

create or replace function chatsync.publish_contacts(p_contacts chatsync.entity[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  insert into chatsync.outbox (tenant_id, topics, type, data)
  select w.tenant_id, array['tenant:' || w.tenant_id], 'contact:updated',
    jsonb_build_object('contact', c.contact)
  from (select distinct c.tenant_id, c.id from unnest(p_contacts) as c) as w
  cross join lateral (
    select c.contact
    from chatsync.wire_contacts c
    where c.tenant_id = w.tenant_id and c.contact_id = w.id
    limit 1
  ) as c
  order by w.id;
end
$$;

grant execute on function
  chatsync.publish_messages(text[], bigint[], text[], text),
  chatsync.publish_statuses(text[], bigint[], text[]),
  chatsync.publish_conversations(text[], bigint[], text[], boolean, bigint[]),
  chatsync.publish_contacts(chatsync.entity[])
to chatsync_worker;

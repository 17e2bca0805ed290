-- The events of what apply_inbound() changed, published last, with every row still locked: an event
-- carries the version that its update returned (protocol §4). Rows are read one by one, by their keys.

-- Called by apply_inbound() with the messages that are new, the conversations they went into, and those
-- that were merged or read: conversation:new, message:new and, once for each conversation that was
-- there, conversation:updated. In one statement, so that a message is described once for the events
-- that show it.
create or replace function chatsync.publish_stored(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[], p_touched_tenant_ids text[],
  p_touched_ids bigint[], p_touched_correlation_ids text[], p_made bigint[], p_reopened bigint[],
  p_merged chatsync.entity[], p_read chatsync.entity[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
-- Of arrays the planner expects ten elements, and would compare each with each.
set enable_nestloop = off
set plan_cache_mode = force_generic_plan
as $$
begin
  with told as materialized (
    select w.message_id, w.correlation_id, w.position, m.tenant_id, m.conversation_id, m.message
    from unnest(p_tenant_ids, p_message_ids, p_correlation_ids)
      with ordinality as w (tenant_id, message_id, correlation_id, position)
    cross join lateral (
      select m.tenant_id, m.conversation_id, m.message
      from chatsync.wire_messages m
      where m.tenant_id = w.tenant_id and m.message_id = w.message_id
      limit 1
    ) as m
  ),
  found as materialized (
    select w.correlation_id, w.conversation_id = any (p_made) as is_new, w.is_restated, v.*,
      c.phone_number, c.name
    from (
      select u.tenant_id, u.conversation_id, max(u.correlation_id) as correlation_id,
        bool_or(u.is_restated) as is_restated
      from (
        select t.tenant_id, t.conversation_id, t.correlation_id,
          coalesce(t.conversation_id = any (p_reopened), false) as is_restated
        from unnest(p_touched_tenant_ids, p_touched_ids, p_touched_correlation_ids)
          as t (tenant_id, conversation_id, correlation_id)
        union all
        select m.tenant_id, m.id, null, true from unnest(p_merged) as m
        union all
        select r.tenant_id, r.id, null, false from unnest(p_read) as r
      ) as u
      group by u.tenant_id, u.conversation_id
    ) as w
    cross join lateral (
      select v as conversation, v.conversation_id, v.tenant_id, v.contact_id, v.assignee_id,
        v.last_message_id
      from chatsync.conversations v
      where v.tenant_id = w.tenant_id and v.conversation_id = w.conversation_id
      limit 1
    ) as v
    cross join lateral (
      select k.phone_number, k.name
      from chatsync.contacts k
      where k.tenant_id = v.tenant_id and k.contact_id = v.contact_id
      limit 1
    ) as c
  ),
  touched as materialized (
    select f.*, chatsync.wire_conversation(
      f.conversation, f.contact_id, f.phone_number, f.name, coalesce(t.message, o.message)) as wired,
      coalesce(t.message, o.message) as last_message
    from found f
    left join told t on t.message_id = f.last_message_id
    -- What was said last may be older than what came now.
    left join lateral (
      select m.message
      from chatsync.wire_messages m
      where t.message is null and m.tenant_id = f.tenant_id and m.message_id = f.last_message_id
      limit 1
    ) as o on true
  )
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select e.tenant_id,
    case when e.assignee_id is null then e.topics else e.topics || ('user:' || e.assignee_id) end,
    e.type, e.data, e.correlation_id
  from (
    select 1 as rank, v.conversation_id as position, v.tenant_id, v.assignee_id,
      array['tenant:' || v.tenant_id] as topics, 'conversation:new' as type,
      jsonb_build_object('conversation', v.wired) as data, v.correlation_id
    from touched v
    where v.is_new
    union all
    select 2, t.position, t.tenant_id, v.assignee_id,
      array['tenant:' || t.tenant_id, 'conversation:' || t.conversation_id], 'message:new',
      jsonb_build_object('conversationId', t.conversation_id::text, 'message', t.message),
      t.correlation_id
    from told t
    left join touched v on v.conversation_id = t.conversation_id
    union all
    select 3, v.conversation_id, v.tenant_id, v.assignee_id,
      array['tenant:' || v.tenant_id, 'conversation:' || v.conversation_id], 'conversation:updated',
      chatsync.conversation_news(v.conversation_id, v.wired, v.last_message, v.is_restated),
      v.correlation_id
    from touched v
    where v.is_new is not true
  ) as e
  order by e.rank, e.position;
end
$$;

-- The data of conversation:updated: what messages change and, where its state changed, that too.
create or replace function chatsync.conversation_news(
  p_conversation_id bigint, p_wired jsonb, p_last_message jsonb, p_is_restated boolean
) returns jsonb
language sql stable parallel safe
return jsonb_build_object(
  'conversationId', p_conversation_id::text,
  'conversation', p_wired,
  'updates', jsonb_build_object(
    'unreadCount', p_wired -> 'unreadCount',
    'lastMessage', p_last_message,
    'lastMessageAt', p_wired -> 'lastMessageAt'
  ) || case
    when p_is_restated then jsonb_strip_nulls(jsonb_build_object(
      'status', p_wired -> 'status',
      'contact', p_wired -> 'contact',
      'assigneeId', p_wired -> 'assigneeId',
      'mergedInto', p_wired -> 'mergedInto'))
    else '{}'
  end);

create or replace function chatsync.publish_changed_messages(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  select m.tenant_id, array['tenant:' || m.tenant_id, 'conversation:' || m.conversation_id],
    'message:updated',
    jsonb_build_object('conversationId', m.conversation_id::text, 'message', m.message),
    w.correlation_id
  from unnest(p_tenant_ids, p_message_ids, p_correlation_ids)
    with ordinality as w (tenant_id, message_id, correlation_id, position)
  cross join lateral (
    select m.tenant_id, m.conversation_id, m.message
    from chatsync.wire_messages m
    where m.tenant_id = w.tenant_id and m.message_id = w.message_id
    limit 1
  ) as m
  order by w.position;
end
$$;

-- Those of p_new are left out: message:new shows them.
create or replace function chatsync.publish_statuses(
  p_tenant_ids text[], p_message_ids bigint[], p_correlation_ids text[], p_new bigint[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
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
  where not w.message_id = any (p_new)
  order by w.position;
end
$$;

create or replace function chatsync.publish_contacts(p_contacts chatsync.entity[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
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
  chatsync.publish_changed_messages(text[], bigint[], text[]),
  chatsync.publish_statuses(text[], bigint[], text[], bigint[]),
  chatsync.publish_stored(
    text[], bigint[], text[], text[], bigint[], text[], bigint[], bigint[], chatsync.entity[],
    chatsync.entity[]),
  chatsync.conversation_news(bigint, jsonb, jsonb, boolean),
  chatsync.publish_contacts(chatsync.entity[])
to chatsync_worker;

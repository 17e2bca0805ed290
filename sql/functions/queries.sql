-- The read side. Each runs in a transaction that names its tenant; row-level security is on. p_claims
-- are the caller's, {tenant, sub, role}: nothing of a conversation that they may not see is returned.

-- The plan depends on the limit and on which filters are given: one for all would sort everything.
create or replace function chatsync.list_conversations(
  p_tenant_id text, p_claims jsonb, p_limit integer,
  p_before_at timestamptz default null, p_before_id bigint default null,
  p_status text default null, p_assignee_id text default null, p_inbox_id bigint default null
) returns table (conversation text, sorted_at text, conversation_id bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
as $$
declare
  v_sees_all boolean := chatsync.sees_all_conversations();
begin
  return query
  select v.conversation::text, coalesce(v.last_message_at, v.created_at)::text, v.conversation_id
  from chatsync.wire_conversations v
  where v.tenant_id = p_tenant_id
    and (p_before_at is null
      or (coalesce(v.last_message_at, v.created_at), v.conversation_id) < (p_before_at, p_before_id))
    and (p_status is null or v.status = p_status)
    and (p_assignee_id is null or v.assignee_id = p_assignee_id)
    and (p_inbox_id is null or v.inbox_id = p_inbox_id)
    and (v_sees_all or chatsync.can_access_conversation(p_claims, v.conversation_id))
  order by coalesce(v.last_message_at, v.created_at) desc, v.conversation_id desc
  limit p_limit;
end
$$;

-- One conversation; null where there is none that the caller may see.
create or replace function chatsync.get_conversation(
  p_tenant_id text, p_claims jsonb, p_conversation_id bigint
) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select conversation::text
  from chatsync.wire_conversations
  where tenant_id = p_tenant_id and conversation_id = p_conversation_id
    and ((select chatsync.sees_all_conversations())
      or chatsync.can_access_conversation(p_claims, conversation_id))
$$;

-- Messages of a conversation, newest first. Its caller has seen the conversation before.
create or replace function chatsync.list_messages(
  p_tenant_id text, p_conversation_id bigint, p_limit integer,
  p_before_at timestamptz default null, p_before_position bigint default null
) returns table (message text, sorted_at text, "position" bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select m.message::text, m.sent_at::text, m.position
  from chatsync.wire_messages m
  where m.tenant_id = p_tenant_id and m.conversation_id = p_conversation_id
    and (p_before_at is null or (m.sent_at, m.position) < (p_before_at, p_before_position))
  order by m.sent_at desc, m.position desc
  limit p_limit
$$;

-- One page of a snapshot: conversations after p_after by id, which no event can reorder, each with
-- its last 50 messages (oldest first) and its contact.
create or replace function chatsync.snapshot_page(
  p_tenant_id text, p_claims jsonb, p_after bigint, p_limit integer
) returns table (conversation_id bigint, conversation text, contact text, messages text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select v.conversation_id, v.conversation::text, c.contact::text, coalesce(m.messages, '[]')::text
  from (
    select conversation_id, contact_id
    from chatsync.conversations
    where tenant_id = p_tenant_id and conversation_id > p_after
      and ((select chatsync.sees_all_conversations())
        or chatsync.can_access_conversation(p_claims, conversation_id))
    order by conversation_id
    limit p_limit
  ) as k
  join chatsync.wire_conversations v
    on v.tenant_id = p_tenant_id and v.conversation_id = k.conversation_id
  join chatsync.wire_contacts c on c.tenant_id = p_tenant_id and c.contact_id = k.contact_id
  left join lateral (
    select jsonb_agg(l.message order by l.sent_at, l.position) as messages
    from (
      select message, sent_at, position
      from chatsync.wire_messages
      where tenant_id = p_tenant_id and wire_messages.conversation_id = k.conversation_id
      order by sent_at desc, position desc
      limit 50
    ) as l
  ) as m on true
  order by v.conversation_id
$$;

create or replace function chatsync.list_inboxes(p_tenant_id text) returns table (inbox text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select inbox::text from chatsync.wire_inboxes where tenant_id = p_tenant_id order by inbox_id
$$;

-- What the events in (p_after, p_upto] were about, as it is now: at most p_limit events a page.
-- reached is the last event that was looked at.
create or replace function chatsync.changes(
  p_tenant_id text, p_claims jsonb, p_after bigint, p_upto bigint, p_limit integer
) returns table (reached bigint, conversations text, messages text, contacts text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with seen as materialized (
    select seq, data
    from chatsync.event_log
    where tenant_id = p_tenant_id and seq > p_after and seq <= p_upto
    order by seq
    limit p_limit
  ),
  named as (
    select
      -- Applications publish events of their own: what is no id of ours names nothing.
      substring(coalesce(data ->> 'conversationId', data -> 'conversation' ->> 'id')
        from '^[0-9]{1,18}$')::bigint as conversation_id,
      substring(coalesce(data ->> 'messageId', data -> 'message' ->> 'id')
        from '^[0-9]{1,18}$')::bigint as message_id,
      substring(data -> 'contact' ->> 'id' from '^[0-9]{1,18}$')::bigint as contact_id
    from seen
  ),
  visible as materialized (
    select v.conversation_id, v.contact_id
    from chatsync.conversations v
    where v.tenant_id = p_tenant_id
      and v.conversation_id in (select conversation_id from named)
      and ((select chatsync.sees_all_conversations())
        or chatsync.can_access_conversation(p_claims, v.conversation_id))
  )
  select
    (select coalesce(max(seq), p_upto) from seen),
    coalesce((
      select jsonb_agg(v.conversation order by v.conversation_id)
      from chatsync.wire_conversations v
      where v.tenant_id = p_tenant_id
        and v.conversation_id in (select conversation_id from visible)
    ), '[]')::text,
    coalesce((
      select jsonb_agg(m.message order by m.sent_at, m.position)
      from chatsync.wire_messages m
      where m.tenant_id = p_tenant_id and m.message_id in (select message_id from named)
        and ((select chatsync.sees_all_conversations())
          or chatsync.can_access_conversation(p_claims, m.conversation_id))
    ), '[]')::text,
    coalesce((
      select jsonb_agg(c.contact order by c.contact_id)
      from chatsync.wire_contacts c
      where c.tenant_id = p_tenant_id and c.contact_id in (
        select contact_id from named
        union
        select contact_id from visible)
        and ((select chatsync.sees_all_conversations())
          or chatsync.can_see_contact(p_claims, c.contact_id))
    ), '[]')::text
$$;

-- The last number that was stamped before a moment, for clients that kept only a time; null when
-- the log no longer, or never, reached back so far.
create or replace function chatsync.seq_before(p_tenant_id text, p_at timestamptz) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (select l.seq from chatsync.event_log l
      where l.tenant_id = p_tenant_id and l.stamped_at < p_at
      order by l.seq desc
      limit 1),
    (select 0 from chatsync.streams s where s.tenant_id = p_tenant_id and s.trimmed_to = 0))
$$;

grant execute on function
  chatsync.list_conversations(text, jsonb, integer, timestamptz, bigint, text, text, bigint),
  chatsync.get_conversation(text, jsonb, bigint),
  chatsync.list_messages(text, bigint, integer, timestamptz, bigint),
  chatsync.snapshot_page(text, jsonb, bigint, integer),
  chatsync.list_inboxes(text),
  chatsync.changes(text, jsonb, bigint, bigint, integer),
  chatsync.seq_before(text, timestamptz)
to chatsync_gateway, chatsync_worker;

-- Rows as the protocol shows them (protocol §4). Ids are text, times are RFC 3339 in UTC.

create or replace view chatsync.wire_contacts with (security_invoker = true) as
select
  c.tenant_id,
  c.contact_id,
  jsonb_build_object(
    'id', c.contact_id::text,
    'name', c.name,
    'phoneNumber', c.phone_number,
    'identities', coalesce((
      select jsonb_agg(jsonb_build_object('kind', i.kind, 'value', i.value, 'scope', i.scope)
        order by i.kind, i.value)
      from chatsync.contact_identities i
      where i.tenant_id = c.tenant_id and i.contact_id = c.contact_id
    ), '[]'),
    'version', c.version
  ) || c.profile || jsonb_strip_nulls(jsonb_build_object('mergedInto', c.merged_into::text)) as contact
from chatsync.contacts c;
comment on view chatsync.wire_contacts is 'Contacts as the protocol shows them.';

-- The reactions that stand; those that were taken back are kept, but not shown.
create or replace function chatsync.wire_reactions(p_reactions jsonb) returns jsonb
language sql immutable parallel safe
return (
  select coalesce(jsonb_agg(r.value || jsonb_build_object('by', r.key) order by r.value ->> 'timestamp', r.key), '[]')
  from jsonb_each(p_reactions) as r
  where r.value ->> 'emoji' is not null
);
grant execute on function chatsync.wire_reactions(jsonb) to public;

create or replace view chatsync.wire_messages with (security_invoker = true) as
select
  m.tenant_id,
  m.message_id,
  m.conversation_id,
  m.sent_at,
  m.position,
  jsonb_build_object(
    'id', m.message_id::text,
    'conversationId', m.conversation_id::text,
    'inboxId', m.inbox_id::text,
    'direction', m.direction,
    'type', m.type,
    'content', m.content,
    'metadata', case
      when m.reactions is null then m.metadata
      else m.metadata || jsonb_build_object('reactions', chatsync.wire_reactions(m.reactions))
    end,
    'status', m.status,
    'timestamp', chatsync.wire_time(m.sent_at),
    'origin', m.origin,
    'contact', jsonb_build_object(
      'id', c.contact_id::text, 'phoneNumber', c.phone_number, 'name', c.name),
    'version', m.version
  ) || jsonb_strip_nulls(jsonb_build_object(
    'clientId', m.client_id,
    'providerMessageId', m.provider_message_id,
    'error', m.error,
    'senderId', m.sender_id,
    'replyTo', m.reply_to::text
  )) as message
from chatsync.messages m
-- One probe a row: without statistics a plain join may be planned from the wrong end.
cross join lateral (
  select k.contact_id, k.phone_number, k.name
  from chatsync.contacts k
  where k.tenant_id = m.tenant_id and k.contact_id = m.contact_id
  limit 1
) as c;
comment on view chatsync.wire_messages is 'Messages as the protocol shows them.';

create or replace view chatsync.wire_conversations with (security_invoker = true) as
select
  v.tenant_id,
  v.conversation_id,
  v.inbox_id,
  v.assignee_id,
  v.status,
  v.last_message_at,
  v.created_at,
  jsonb_build_object(
    'id', v.conversation_id::text,
    'inboxId', v.inbox_id::text,
    'contact', jsonb_build_object(
      'id', c.contact_id::text, 'phoneNumber', c.phone_number, 'name', c.name),
    'status', v.status,
    'assigneeId', v.assignee_id,
    'unreadCount', v.unread_count,
    'lastMessage', m.message,
    'lastMessageAt', chatsync.wire_time(v.last_message_at),
    'createdAt', chatsync.wire_time(v.created_at),
    'updatedAt', chatsync.wire_time(v.updated_at),
    'version', v.version
  ) || jsonb_strip_nulls(jsonb_build_object('mergedInto', v.merged_into::text)) as conversation
from chatsync.conversations v
cross join lateral (
  select k.contact_id, k.phone_number, k.name
  from chatsync.contacts k
  where k.tenant_id = v.tenant_id and k.contact_id = v.contact_id
  limit 1
) as c
left join lateral (
  select l.message
  from chatsync.wire_messages l
  where l.tenant_id = v.tenant_id and l.message_id = v.last_message_id
  limit 1
) as m on true;
comment on view chatsync.wire_conversations is 'Conversations as the protocol shows them.';

create or replace view chatsync.wire_inboxes with (security_invoker = true) as
select
  i.tenant_id,
  i.inbox_id,
  jsonb_build_object(
    'id', i.inbox_id::text,
    'provider', i.provider,
    'externalId', i.external_id,
    'state', i.state,
    'version', i.version
  ) || jsonb_strip_nulls(jsonb_build_object('reason', i.state_reason, 'qrcode', i.qrcode)) as inbox
from chatsync.inboxes i;
comment on view chatsync.wire_inboxes is 'Inboxes as the protocol shows them, without their secrets.';

grant select on chatsync.wire_contacts, chatsync.wire_messages, chatsync.wire_conversations,
  chatsync.wire_inboxes to chatsync_worker, chatsync_gateway;

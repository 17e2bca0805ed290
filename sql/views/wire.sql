-- Rows as the protocol shows them (protocol §4). Ids are text, times are RFC 3339 in UTC.

-- What else is known of a contact, without the times at which it was heard.
create or replace function chatsync.wire_profile(p_profile jsonb) returns jsonb
language sql immutable parallel safe
return (
  select coalesce(
      jsonb_object_agg(p.key, p.value -> 'value') filter (where not starts_with(p.key, 'preferences.')),
      '{}')
    || case
      when bool_or(starts_with(p.key, 'preferences.')) then jsonb_build_object(
        'preferences',
        jsonb_object_agg(substr(p.key, 13), p.value -> 'value')
          filter (where starts_with(p.key, 'preferences.')))
      else '{}'
    end
  from jsonb_each(p_profile) as p
);
grant execute on function chatsync.wire_profile(jsonb) to public;

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
  ) || chatsync.wire_profile(c.profile)
    || jsonb_strip_nulls(jsonb_build_object('mergedInto', c.merged_into::text)) as contact
from chatsync.contacts c;
comment on view chatsync.wire_contacts is 'Contacts as the protocol shows them.';

-- The reactions that stand; those that were taken back are kept, but not shown.
create or replace function chatsync.wire_reactions(p_reactions jsonb) returns jsonb
language sql immutable parallel safe
return (
  select coalesce(
    jsonb_agg(r.value || jsonb_build_object('by', r.key) order by r.value ->> 'timestamp', r.key), '[]')
  from jsonb_each(p_reactions) as r
  where r.value ->> 'emoji' is not null
);
grant execute on function chatsync.wire_reactions(jsonb) to public;

-- A message with the contact it shows. A key that is to be absent is named as another one, which
-- jsonb then holds once: that is cheaper than to join two objects, and this runs for each event.
create or replace function chatsync.wire_message(
  p_message chatsync.messages, p_contact_id bigint, p_phone_number text, p_name text
) returns jsonb
language sql stable parallel safe
return jsonb_build_object(
  'id', (p_message).message_id::text,
  'conversationId', (p_message).conversation_id::text,
  'inboxId', (p_message).inbox_id::text,
  'direction', (p_message).direction,
  'type', (p_message).type,
  'content', (p_message).content,
  'metadata', case
    when (p_message).reactions is null then (p_message).metadata
    else (p_message).metadata
      || jsonb_build_object('reactions', chatsync.wire_reactions((p_message).reactions))
  end,
  'status', (p_message).status,
  'timestamp', chatsync.wire_time((p_message).sent_at),
  'contact', jsonb_build_object('id', p_contact_id::text, 'phoneNumber', p_phone_number, 'name', p_name),
  'version', (p_message).version,
  case when (p_message).provider_message_id is null then 'origin' else 'providerMessageId' end,
  (p_message).provider_message_id,
  'origin', (p_message).origin
) || case
  when num_nonnulls(
    (p_message).client_id, (p_message).error, (p_message).sender_id, (p_message).reply_to) = 0 then '{}'
  else jsonb_strip_nulls(jsonb_build_object(
    'clientId', (p_message).client_id,
    'error', (p_message).error,
    'senderId', (p_message).sender_id,
    'replyTo', (p_message).reply_to::text))
end;
grant execute on function chatsync.wire_message(chatsync.messages, bigint, text, text) to public;

create or replace view chatsync.wire_messages with (security_invoker = true) as
select
  m.tenant_id,
  m.message_id,
  m.conversation_id,
  m.sent_at,
  m.position,
  case
    when a.merged_into is null then chatsync.wire_message(m, a.contact_id, a.phone_number, a.name)
    else chatsync.wire_message(m, b.contact_id, b.phone_number, b.name)
  end as message
from chatsync.messages m
-- One probe a row: without statistics a plain join may be planned from the wrong end.
cross join lateral (
  select k.merged_into, k.contact_id, k.phone_number, k.name
  from chatsync.contacts k
  where k.tenant_id = m.tenant_id and k.contact_id = m.contact_id
  limit 1
) as a
-- Who wrote in a group may have turned out to be another contact since then.
left join lateral (
  select k.contact_id, k.phone_number, k.name
  from chatsync.contacts k
  where k.tenant_id = m.tenant_id and k.contact_id = a.merged_into
  limit 1
) as b on a.merged_into is not null;
comment on view chatsync.wire_messages is 'Messages as the protocol shows them.';

create or replace function chatsync.wire_conversation(
  p_conversation chatsync.conversations, p_contact_id bigint, p_phone_number text, p_name text,
  p_last_message jsonb
) returns jsonb
language sql stable parallel safe
return jsonb_build_object(
  'id', (p_conversation).conversation_id::text,
  'inboxId', (p_conversation).inbox_id::text,
  'contact', jsonb_build_object('id', p_contact_id::text, 'phoneNumber', p_phone_number, 'name', p_name),
  'status', (p_conversation).status,
  'assigneeId', (p_conversation).assignee_id,
  'unreadCount', (p_conversation).unread_count,
  'lastMessage', p_last_message,
  'lastMessageAt', chatsync.wire_time((p_conversation).last_message_at),
  'createdAt', chatsync.wire_time((p_conversation).created_at),
  'updatedAt', chatsync.wire_time((p_conversation).updated_at),
  case when (p_conversation).merged_into is null then 'version' else 'mergedInto' end,
  (p_conversation).merged_into::text,
  'version', (p_conversation).version
);
grant execute on function
  chatsync.wire_conversation(chatsync.conversations, bigint, text, text, jsonb) to public;

create or replace view chatsync.wire_conversations with (security_invoker = true) as
select
  v.tenant_id,
  v.conversation_id,
  v.inbox_id,
  v.assignee_id,
  v.status,
  v.last_message_at,
  v.created_at,
  chatsync.wire_conversation(v, c.contact_id, c.phone_number, c.name, m.message) as conversation
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
  ) || jsonb_strip_nulls(jsonb_build_object('reason', nullif(i.state_reason, 0)))
    -- As its event has it, nulls and all.
    || case when i.qrcode is null then '{}' else jsonb_build_object('qrcode', i.qrcode) end as inbox
from chatsync.inboxes i;
comment on view chatsync.wire_inboxes is 'Inboxes as the protocol shows them, without their secrets.';

grant select on chatsync.wire_contacts, chatsync.wire_messages, chatsync.wire_conversations,
  chatsync.wire_inboxes to chatsync_worker, chatsync_gateway;

-- Contacts that turn out to be one (architecture §5.4).

-- Called by resolve_contacts(). Merges the contacts that one key names several of; returns the
-- contacts and the conversations that changed.
-- Lock order: contacts by id, then conversations by id, for all of them at once.
create or replace function chatsync.merge_known_contacts(
  p_contacts jsonb, out changed chatsync.entity[], out conversations chatsync.entity[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_known chatsync.entity[] := chatsync.contacts_to_merge(p_contacts);
  v_contact jsonb;
  v_same chatsync.entity[];
begin
  if v_known is null then
    return;
  end if;
  perform from chatsync.contacts
  where (tenant_id, contact_id) in (select k.tenant_id, k.id from unnest(v_known) as k)
  order by contact_id
  for update;
  perform from chatsync.conversations
  where (tenant_id, contact_id) in (select k.tenant_id, k.id from unnest(v_known) as k)
  order by conversation_id
  for update;
  -- One by one, since what one key merges another may name, too.
  for v_contact in select w.contact from jsonb_array_elements(p_contacts) as w (contact) loop
    v_same := chatsync.contacts_to_merge(jsonb_build_array(v_contact));
    continue when v_same is null;
    conversations := conversations || chatsync.merge_contacts(
      (v_same[1]).tenant_id, array(select s.id from unnest(v_same) as s order by s.id));
    changed := changed || v_same;
  end loop;
end
$$;

-- Called by merge_known_contacts(). The contacts of those keys that name several.
create or replace function chatsync.contacts_to_merge(p_contacts jsonb) returns chatsync.entity[]
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
  select array_agg(distinct (w."tenantId", k.contact_id)::chatsync.entity)
  from chatsync.look_up_contacts(p_contacts) as l
  join jsonb_to_recordset(p_contacts) as w (key integer, "tenantId" text, identities jsonb)
    on w.key = l.key
  cross join lateral jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
  join chatsync.contact_identities k
    on k.tenant_id = w."tenantId" and k.scope = i.scope and k.kind = i.kind and k.value = i.value
  where l.first_id <> l.last_id
$$;

-- Makes one contact of several: the oldest wins, and takes their identities and conversations. Its
-- name is the one that a contact gave last, else the oldest's. Returns the conversations that changed,
-- for the caller to announce; those that went into another are announced here.
-- Lock order: contacts by id, then conversations by id. Raises 40001 when one was merged meanwhile.
create or replace function chatsync.merge_contacts(p_tenant_id text, p_contact_ids bigint[])
returns chatsync.entity[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_oldest bigint := (select min(id) from unnest(p_contact_ids) as c (id));
  v_others bigint[] := array_remove(p_contact_ids, v_oldest);
  v_changed bigint[];
  v_moved bigint[];
begin
  perform from chatsync.contacts
  where tenant_id = p_tenant_id and contact_id = any (p_contact_ids)
  order by contact_id
  for update;
  if exists (
    select from chatsync.contacts
    where tenant_id = p_tenant_id and contact_id = any (p_contact_ids) and merged_into is not null
  ) then
    raise exception 'a contact was merged by another transaction' using errcode = 'serialization_failure';
  end if;
  update chatsync.contact_identities set contact_id = v_oldest
  where tenant_id = p_tenant_id and contact_id = any (v_others);
  with heard as (
    select
      (array_agg(name order by named_at desc nulls last, contact_id) filter (where name is not null))[1]
        as name,
      max(named_at) as named_at,
      (array_agg(phone_number order by numbered_at desc nulls last, contact_id)
        filter (where phone_number is not null))[1] as phone_number,
      max(numbered_at) as numbered_at
    from chatsync.contacts
    where tenant_id = p_tenant_id and contact_id = any (p_contact_ids)
  ),
  described as (
    select coalesce(
      jsonb_object_agg(p.key, p.value order by (p.value ->> 'at')::timestamptz, c.contact_id desc),
      '{}') as profile
    from chatsync.contacts c
    cross join lateral jsonb_each(c.profile) as p
    where c.tenant_id = p_tenant_id and c.contact_id = any (p_contact_ids)
  )
  update chatsync.contacts c
  set name = h.name, named_at = h.named_at, phone_number = h.phone_number, numbered_at = h.numbered_at,
    profile = d.profile, version = c.version + 1, updated_at = chatsync.now()
  from heard h, described d
  where c.tenant_id = p_tenant_id and c.contact_id = v_oldest;
  -- Also those that were merged into one of them: a contact that went is one step from the one that stays.
  update chatsync.contacts
  set merged_into = v_oldest, version = version + 1, updated_at = chatsync.now()
  where tenant_id = p_tenant_id
    and (contact_id = any (v_others) or merged_into = any (v_others));

  perform from chatsync.conversations
  where tenant_id = p_tenant_id and contact_id = any (p_contact_ids)
  order by conversation_id
  for update;
  v_changed := chatsync.merge_open_conversations(p_tenant_id, p_contact_ids);
  with moved as (
    update chatsync.conversations
    set contact_id = v_oldest, version = version + 1, updated_at = chatsync.now()
    where tenant_id = p_tenant_id and contact_id = any (v_others)
    returning conversation_id
  )
  select array_agg(conversation_id) into v_moved from moved;
  update chatsync.messages
  set contact_id = v_oldest, version = version + 1
  where tenant_id = p_tenant_id and conversation_id = any (v_moved || v_changed)
    and contact_id = any (v_others);
  return (
    select array_agg(distinct (p_tenant_id, c.id)::chatsync.entity)
    from unnest(v_changed || v_moved) as c (id));
end
$$;

-- Called by merge_contacts(), with contacts and conversations locked. Of several open conversations of
-- one inbox the oldest takes the messages of the others. Returns all of those that were several.
create or replace function chatsync.merge_open_conversations(p_tenant_id text, p_contact_ids bigint[])
returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_open record;
  v_others bigint[];
  v_changed bigint[] := '{}';
begin
  for v_open in
    select array_agg(conversation_id order by conversation_id) as ids
    from chatsync.conversations
    where tenant_id = p_tenant_id and contact_id = any (p_contact_ids) and status <> 'RESOLVED'
    group by inbox_id
    having count(*) > 1
  loop
    v_others := v_open.ids[2:];
    v_changed := v_changed || v_open.ids;
    update chatsync.messages
    set conversation_id = v_open.ids[1], version = version + 1
    where tenant_id = p_tenant_id and conversation_id = any (v_others);
    update chatsync.conversations v
    set unread_count = s.unread_count, last_message_id = s.last_message_id,
      last_message_at = s.last_message_at, assignee_id = coalesce(v.assignee_id, s.assignee_id),
      version = v.version + 1, updated_at = chatsync.now()
    from (
      select sum(unread_count)::integer as unread_count, max(last_message_at) as last_message_at,
        (array_agg(last_message_id order by last_message_at desc nulls last, last_message_id desc))[1]
          as last_message_id,
        (array_agg(assignee_id order by conversation_id) filter (where assignee_id is not null))[1]
          as assignee_id
      from chatsync.conversations
      where tenant_id = p_tenant_id and conversation_id = any (v_open.ids)
    ) as s
    where v.tenant_id = p_tenant_id and v.conversation_id = v_open.ids[1];
    update chatsync.conversations
    set status = 'RESOLVED', merged_into = v_open.ids[1], unread_count = 0, last_message_id = null,
      version = version + 1, updated_at = chatsync.now()
    where tenant_id = p_tenant_id and conversation_id = any (v_others);
    insert into chatsync.outbox (tenant_id, topics, type, data)
    select p_tenant_id,
      array['tenant:' || p_tenant_id, 'conversation:' || o.id, 'conversation:' || v_open.ids[1]],
      'conversation:merged',
      jsonb_build_object('conversationId', o.id::text, 'intoId', v_open.ids[1]::text)
    from unnest(v_others) as o (id);
  end loop;
  return v_changed;
end
$$;

grant execute on function
  chatsync.merge_known_contacts(jsonb),
  chatsync.contacts_to_merge(jsonb),
  chatsync.merge_contacts(text, bigint[]),
  chatsync.merge_open_conversations(text, bigint[])
to chatsync_worker;

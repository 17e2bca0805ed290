-- Contacts that turn out to be one (architecture §5.4).

-- Called by resolve_contacts(). Merges the contacts that one key names several of; returns the
-- contacts and the conversations that changed.
create or replace function chatsync.merge_known_contacts(
  p_contacts jsonb, out changed chatsync.entity[], out conversations chatsync.entity[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_same record;
begin
  for v_same in
    select w."tenantId" as tenant_id, array_agg(distinct k.contact_id) as contact_ids
    from chatsync.look_up_contacts(p_contacts) as l
    join jsonb_to_recordset(p_contacts) as w (key integer, "tenantId" text, identities jsonb)
      on w.key = l.key
    cross join lateral jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
    join chatsync.contact_identities k
      on k.tenant_id = w."tenantId" and k.scope = i.scope and k.kind = i.kind and k.value = i.value
    where l.first_id <> l.last_id
    group by w.key, w."tenantId"
  loop
    conversations := conversations
      || chatsync.merge_contacts(v_same.tenant_id, v_same.contact_ids);
    changed := changed || (
      select array_agg((v_same.tenant_id, c.contact_id)::chatsync.entity)
      from unnest(v_same.contact_ids) as c (contact_id));
  end loop;
end
$$;

-- Makes one contact of several: the oldest wins, and takes their identities and conversations. What
-- the oldest lacks it takes from the next. Returns the conversations that changed, for the caller to
-- announce; those that went into another are announced here.
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
  with others as (
    select (array_agg(name order by contact_id) filter (where name is not null))[1] as name,
      (array_agg(named_at order by contact_id) filter (where name is not null))[1] as named_at,
      (array_agg(phone_number order by contact_id) filter (where phone_number is not null))[1] as number,
      jsonb_object_agg(p.key, p.value) filter (where p.key is not null) as profile
    from chatsync.contacts c
    left join lateral jsonb_each(c.profile) as p on true
    where c.tenant_id = p_tenant_id and c.contact_id = any (v_others)
  )
  update chatsync.contacts c
  set
    name = coalesce(c.name, o.name),
    named_at = case when c.name is null then o.named_at else c.named_at end,
    phone_number = coalesce(c.phone_number, o.number),
    profile = coalesce(o.profile, '{}') || c.profile,
    version = c.version + 1,
    updated_at = chatsync.now()
  from others o
  where c.tenant_id = p_tenant_id and c.contact_id = v_oldest;
  update chatsync.contacts
  set merged_into = v_oldest, version = version + 1, updated_at = chatsync.now()
  where tenant_id = p_tenant_id and contact_id = any (v_others);

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
        (array_agg(last_message_id order by last_message_at desc nulls last))[1] as last_message_id,
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
  chatsync.merge_contacts(text, bigint[]),
  chatsync.merge_open_conversations(text, bigint[])
to chatsync_worker;

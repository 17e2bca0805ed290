-- Whom a delivery speaks of.

-- Called by resolve_contacts(). What is known of each contact that a batch names: the first and the
-- last contact that own one of its identities, whether all of them are known, and whether name,
-- number or profile are news. Reads only; each look-up is one probe of an index.
create or replace function chatsync.look_up_contacts(p_contacts jsonb)
returns table (
  key integer, tenant_id text, first_id bigint, last_id bigint, is_complete boolean, is_stale boolean)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
  select w.key, w."tenantId", k.first_id, k.last_id, k.is_complete,
    k.first_id is not null and (
      (w.name is not null and w.name is distinct from c.name and (
        c.name is null or (w."isRenamed" and chatsync.is_newer_name(
          w."tenantId", k.first_id, c.named_at, w."namedAt"))))
      or (w."phoneNumber" is not null and w."phoneNumber" is distinct from c.phone_number and (
        c.phone_number is null
        or (w."isNewNumber" and (c.numbered_at is null or w."numberedAt" > c.numbered_at))))
      or (w.profile is not null and chatsync.joined_profile(c.profile, w.profile) <> c.profile))
  from jsonb_to_recordset(p_contacts) as w (
    key integer, "tenantId" text, name text, "isRenamed" boolean, "namedAt" timestamptz,
    "phoneNumber" text, "isNewNumber" boolean, "numberedAt" timestamptz, profile jsonb,
    identities jsonb)
  cross join lateral (
    select min(o.contact_id) as first_id, max(o.contact_id) as last_id,
      bool_and(o.contact_id is not null) as is_complete
    from jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
    left join lateral (
      select n.contact_id
      from chatsync.contact_identities n
      where n.tenant_id = w."tenantId" and n.scope = i.scope and n.kind = i.kind and n.value = i.value
      limit 1
    ) as o on true
  ) as k
  left join lateral (
    select n.name, n.named_at, n.phone_number, n.numbered_at, n.profile
    from chatsync.contacts n
    where n.tenant_id = w."tenantId" and n.contact_id = k.first_id
    limit 1
  ) as c on true
$$;

-- Whether a name that a contact gives is newer than the one it has. A contact that said something since
-- then had its newer name heard, even where that was the same name again.
create or replace function chatsync.is_newer_name(
  p_tenant_id text, p_contact_id bigint, p_named_at timestamptz, p_heard_at timestamptz
) returns boolean
language sql stable parallel safe
return p_named_at is null or (p_heard_at > p_named_at and not exists (
  select
  from chatsync.conversations v
  join chatsync.messages m on m.tenant_id = v.tenant_id and m.conversation_id = v.conversation_id
  where v.tenant_id = p_tenant_id and v.contact_id = p_contact_id and v.last_message_at > p_heard_at
    and m.sent_at > p_heard_at and m.direction = 'INBOUND'));

-- A profile, {name: {value, at}}, with what was heard of it: of each name the newest value, so that it
-- is the same whatever the order in which the values are heard.
create or replace function chatsync.joined_profile(p_known jsonb, p_heard jsonb) returns jsonb
language sql immutable parallel safe
return (
  select p_known || coalesce(jsonb_object_agg(h.key, h.value), '{}')
  from jsonb_each(p_heard) as h
  where not p_known ? h.key
    or (p_known -> h.key -> 'value' <> h.value -> 'value'
      and (p_known -> h.key ->> 'at')::timestamptz < (h.value ->> 'at')::timestamptz)
);

-- Called by apply_inbound() with [{key, tenantId, name, isRenamed, namedAt, phoneNumber, isNewNumber,
-- numberedAt, profile: {name: {value, at}}, identities: [{scope, kind, value}]}], keys dense from 0,
-- folded so that no identity stands under two keys. Makes unknown contacts, merges those that turn out
-- to be one, takes what is news. contact_ids is in the order of the keys; the rest changed or is new.
-- Lock order: contacts by id, then identities by value. Raises 40001 when another was faster.
create or replace function chatsync.resolve_contacts(
  p_contacts jsonb,
  out contact_ids bigint[], out changed chatsync.entity[], out made bigint[],
  out conversations chatsync.entity[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_odd integer[];
  v_odd_contacts jsonb;
  v_updated chatsync.entity[];
begin
  select array_agg(l.first_id order by l.key),
    array_agg(l.key) filter (
      where l.first_id is distinct from l.last_id or l.first_id is null or not l.is_complete or l.is_stale)
  into contact_ids, v_odd
  from chatsync.look_up_contacts(p_contacts) as l;
  if v_odd is null then
    return;
  end if;
  select jsonb_agg(w.contact) into v_odd_contacts
  from jsonb_array_elements(p_contacts) as w (contact)
  where (w.contact ->> 'key')::integer = any (v_odd);
  select m.changed, m.conversations into changed, conversations
  from chatsync.merge_known_contacts(v_odd_contacts) as m;
  made := chatsync.make_contacts(v_odd_contacts);
  -- Two keys may name one contact: each brings its own news.
  loop
    v_updated := chatsync.update_contacts(v_odd_contacts);
    exit when v_updated is null;
    changed := changed || v_updated;
  end loop;

  select array_agg(l.first_id order by l.key) into contact_ids
  from chatsync.look_up_contacts(p_contacts) as l;
  -- Another transaction made one of them at the same moment: the batch is run again, and finds it.
  if not coalesce(made <@ contact_ids, true) or exists (
    select from chatsync.look_up_contacts(v_odd_contacts) as l
    where l.first_id is distinct from l.last_id or l.first_id is null or not l.is_complete
  ) then
    raise exception 'a contact was made by another transaction' using errcode = 'serialization_failure';
  end if;
end
$$;

-- Called by resolve_contacts(). Makes the contacts of whom nothing is known; returns their ids.
create or replace function chatsync.make_contacts(p_contacts jsonb) returns bigint[]
language sql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
  with unknown as materialized (
    select w.*, nextval('chatsync.contacts_contact_id_seq') as contact_id
    from chatsync.look_up_contacts(p_contacts) as l
    join jsonb_to_recordset(p_contacts) as w (
      key integer, "tenantId" text, name text, "isRenamed" boolean, "namedAt" timestamptz,
      "phoneNumber" text, "isNewNumber" boolean, "numberedAt" timestamptz, profile jsonb,
      identities jsonb)
      on w.key = l.key
    where l.first_id is null
  ),
  made as (
    insert into chatsync.contacts (
      tenant_id, contact_id, name, named_at, phone_number, numbered_at, profile)
    select "tenantId", contact_id, name, case when name is not null and "isRenamed" then "namedAt" end,
      "phoneNumber", case when "isNewNumber" then "numberedAt" end, coalesce(profile, '{}')
    from unknown
    returning contact_id
  ),
  attached as (
    insert into chatsync.contact_identities (tenant_id, scope, kind, value, contact_id)
    select u."tenantId", i.scope, i.kind, i.value, u.contact_id
    from unknown u
    cross join lateral jsonb_to_recordset(u.identities) as i (scope text, kind text, value text)
    order by 1, 2, 3, 4
    on conflict do nothing
  )
  select array_agg(contact_id) from made
$$;

-- Called by resolve_contacts() with contacts that are known. Attaches new identities and takes a newer
-- name, number or profile; of several keys for one contact the first that has news. Returns those that
-- changed; call it again until there are none.
create or replace function chatsync.update_contacts(p_contacts jsonb) returns chatsync.entity[]
language sql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  with news as materialized (
    select distinct on (l.tenant_id, l.first_id) w.*, l.first_id as contact_id
    from chatsync.look_up_contacts(p_contacts) as l
    join jsonb_to_recordset(p_contacts) as w (
      key integer, "tenantId" text, name text, "isRenamed" boolean, "namedAt" timestamptz,
      "phoneNumber" text, "isNewNumber" boolean, "numberedAt" timestamptz, profile jsonb,
      identities jsonb)
      on w.key = l.key
    where l.first_id is not null and (l.is_stale or not l.is_complete)
    order by l.tenant_id, l.first_id, l.key
  ),
  attached as (
    insert into chatsync.contact_identities (tenant_id, scope, kind, value, contact_id)
    select n."tenantId", i.scope, i.kind, i.value, n.contact_id
    from news n
    cross join lateral jsonb_to_recordset(n.identities) as i (scope text, kind text, value text)
    order by 1, 2, 3, 4
    on conflict do nothing
  ),
  updated as (
    update chatsync.contacts c
    set
      name = case
        when n.name is not null and (c.name is null
          or (n."isRenamed" and chatsync.is_newer_name(
            n."tenantId", c.contact_id, c.named_at, n."namedAt"))) then n.name
        else c.name
      end,
      named_at = case when n.name is not null and n."isRenamed" then greatest(c.named_at, n."namedAt")
        else c.named_at end,
      phone_number = case
        when n."phoneNumber" is not null and (c.phone_number is null
          or (n."isNewNumber" and (c.numbered_at is null or n."numberedAt" > c.numbered_at)))
        then n."phoneNumber"
        else c.phone_number
      end,
      numbered_at = case when n."isNewNumber" then greatest(c.numbered_at, n."numberedAt")
        else c.numbered_at end,
      profile = chatsync.joined_profile(c.profile, coalesce(n.profile, '{}')),
      version = c.version + 1,
      updated_at = chatsync.now()
    from (select * from news order by contact_id) as n
    where c.tenant_id = n."tenantId" and c.contact_id = n.contact_id
    returning c.tenant_id, c.contact_id
  )
  select array_agg((tenant_id, contact_id)::chatsync.entity) from updated
$$;

grant execute on function
  chatsync.look_up_contacts(jsonb),
  chatsync.is_newer_name(text, bigint, timestamptz, timestamptz),
  chatsync.joined_profile(jsonb, jsonb),
  chatsync.resolve_contacts(jsonb),
  chatsync.make_contacts(jsonb),
  chatsync.update_contacts(jsonb)
to chatsync_worker;

-- Whom a delivery speaks of.

-- Called by apply_inbound() with [{key, tenantId, name, isRenamed, phoneNumber, identities:
-- [{scope, kind, value}]}], folded so that no identity stands under two keys. Finds each contact by any of its
-- identities, makes the unknown ones, attaches new identities and takes a newer name.
-- Lock order: identities by value, then contacts by id.
create or replace function chatsync.resolve_contacts(p_contacts jsonb)
returns table (contact_key integer, tenant_id text, contact_id bigint, was_updated boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_made bigint[];
  v_updated bigint[];
begin
  with identified as (
    select w.key, w."tenantId" as tenant_id, w.name, w."phoneNumber" as phone_number,
      i.scope, i.kind, i.value, k.contact_id
    from jsonb_to_recordset(p_contacts)
      as w (key integer, "tenantId" text, name text, "phoneNumber" text, identities jsonb)
    cross join lateral jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
    left join chatsync.contact_identities k
      on k.tenant_id = w."tenantId" and k.scope = i.scope and k.kind = i.kind and k.value = i.value
  ),
  owned as materialized (
    select key, min(tenant_id) as tenant_id, min(name) as name, min(phone_number) as phone_number,
      coalesce(min(contact_id), nextval('chatsync.contacts_contact_id_seq')) as contact_id,
      min(contact_id) is null as is_new
    from identified
    group by key
  ),
  made as (
    insert into chatsync.contacts (tenant_id, contact_id, name, phone_number)
    select tenant_id, contact_id, name, phone_number from owned where is_new
    returning contact_id
  ),
  attached as (
    insert into chatsync.contact_identities (tenant_id, scope, kind, value, contact_id)
    select i.tenant_id, i.scope, i.kind, i.value, o.contact_id
    from identified i
    join owned o on o.key = i.key
    where i.contact_id is null
    order by i.tenant_id, i.scope, i.kind, i.value
    on conflict do nothing
  )
  select coalesce(array_agg(contact_id), '{}') into v_made from made;

  -- Another transaction may have been faster with an identity: its contact is the one, it takes what
  -- ours was given, and ours goes.
  if cardinality(v_made) > 0 then
    update chatsync.contact_identities i
    set contact_id = f.contact_id
    from (
      select w."tenantId" as tenant_id, array_agg(k.contact_id) as contact_ids,
        min(k.contact_id) filter (where not k.contact_id = any (v_made)) as contact_id
      from jsonb_to_recordset(p_contacts) as w (key integer, "tenantId" text, identities jsonb)
      cross join lateral jsonb_to_recordset(w.identities) as n (scope text, kind text, value text)
      join chatsync.contact_identities k
        on k.tenant_id = w."tenantId" and k.scope = n.scope and k.kind = n.kind and k.value = n.value
      group by w.key, w."tenantId"
    ) as f
    where f.contact_id is not null and i.tenant_id = f.tenant_id
      and i.contact_id = any (f.contact_ids) and i.contact_id = any (v_made);
    delete from chatsync.contacts c
    where c.contact_id = any (v_made)
      and c.tenant_id in (
        select w."tenantId" from jsonb_to_recordset(p_contacts) as w ("tenantId" text))
      and not exists (
        select from chatsync.contact_identities i
        where i.tenant_id = c.tenant_id and i.contact_id = c.contact_id);
  end if;

  with resolved as (
    select w.key, w."tenantId" as tenant_id, w.name, w."phoneNumber" as phone_number,
      w."isRenamed" as is_renamed, min(k.contact_id) as contact_id
    from jsonb_to_recordset(p_contacts) as w (
      key integer, "tenantId" text, name text, "phoneNumber" text, "isRenamed" boolean,
      identities jsonb)
    cross join lateral jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
    join chatsync.contact_identities k
      on k.tenant_id = w."tenantId" and k.scope = i.scope and k.kind = i.kind and k.value = i.value
    group by 1, 2, 3, 4, 5
  ),
  stale as (
    select c.tenant_id, c.contact_id, r.phone_number,
      case when r.is_renamed or c.name is null then r.name end as name
    from resolved r
    join chatsync.contacts c on c.tenant_id = r.tenant_id and c.contact_id = r.contact_id
    where (r.name is distinct from c.name and r.name is not null and (r.is_renamed or c.name is null))
      or (r.phone_number is not null and c.phone_number is null)
    order by c.contact_id
    for no key update of c
  ),
  updated as (
    update chatsync.contacts c
    set name = coalesce(s.name, c.name), phone_number = coalesce(c.phone_number, s.phone_number),
      version = c.version + 1, updated_at = chatsync.now()
    from stale s
    where c.tenant_id = s.tenant_id and c.contact_id = s.contact_id
    returning c.contact_id
  )
  select coalesce(array_agg(contact_id), '{}') into v_updated from updated;

  return query
  select w.key, w."tenantId", min(k.contact_id), min(k.contact_id) = any (v_updated)
  from jsonb_to_recordset(p_contacts) as w (key integer, "tenantId" text, identities jsonb)
  cross join lateral jsonb_to_recordset(w.identities) as i (scope text, kind text, value text)
  join chatsync.contact_identities k
    on k.tenant_id = w."tenantId" and k.scope = i.scope and k.kind = i.kind and k.value = i.value
  group by 1, 2;
end
$$;

grant execute on function chatsync.resolve_contacts(jsonb) to chatsync_worker;

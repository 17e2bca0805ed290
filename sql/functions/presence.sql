-- Presence: leases of gateways, and what each of them says of its users.

-- Called by each gateway every few seconds. Renews its lease, or makes one, and takes nodes whose lease
-- ran out for dead; their users go with them. Returns whether the lease is a new one (all must be said
-- again) and the tenants that lost somebody. Locks its own row, then those of others that are free.
create or replace function chatsync.beat_node(
  p_node_id text, p_lease_seconds double precision, out is_new boolean, out tenant_ids text[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_lease_until timestamptz := chatsync.now() + make_interval(secs => p_lease_seconds);
  v_was_alive boolean;
  v_dead text[];
  v_tenant_ids text[];
begin
  tenant_ids := '{}';
  select n.lease_until >= chatsync.now() into v_was_alive
  from chatsync.gateway_nodes n where n.node_id = p_node_id
  for no key update;
  is_new := not found;
  insert into chatsync.gateway_nodes as n (node_id, lease_until) values (p_node_id, v_lease_until)
  on conflict (node_id) do update set lease_until = excluded.lease_until;
  -- Whoever is late itself judges nobody: the database was away for all, or this process stood still.
  if v_was_alive is not true then
    return;
  end if;
  v_dead := array(
    select n.node_id from chatsync.gateway_nodes n
    where n.lease_until < chatsync.now()
    order by n.node_id
    for update skip locked);
  if cardinality(v_dead) > 0 then
    select coalesce(array_agg(distinct p.tenant_id), '{}') into v_tenant_ids
    from chatsync.presence p where p.node_id = any (v_dead);
    delete from chatsync.gateway_nodes where node_id = any (v_dead);
    tenant_ids := v_tenant_ids;
  end if;
end
$$;

-- Called by a gateway that ends in good order: its users stay until they had time to come back
-- elsewhere; then whoever beats next takes it for dead.
create or replace function chatsync.leave_node(p_node_id text, p_grace_seconds double precision)
returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  update chatsync.gateway_nodes
  set lease_until = least(lease_until, chatsync.now() + make_interval(secs => p_grace_seconds))
  where node_id = p_node_id
$$;

-- Called by a gateway for what changed: per user the status (null: nobody here any more), the number of
-- sessions and the name. False: the node has no lease and nothing was written; it must beat, and say all.
create or replace function chatsync.say_presence(
  p_node_id text, p_tenant_ids text[], p_user_ids text[], p_statuses text[], p_sessions integer[],
  p_names text[]) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config(
    'chatsync.tenants', array_to_string(array(select distinct unnest(p_tenant_ids)), ','), true);
  delete from chatsync.presence p
  using unnest(p_tenant_ids, p_user_ids, p_statuses) as s (tenant_id, user_id, status)
  where s.status is null
    and p.tenant_id = s.tenant_id and p.user_id = s.user_id and p.node_id = p_node_id;
  insert into chatsync.presence (tenant_id, user_id, node_id, status, sessions, name)
  select s.tenant_id, s.user_id, p_node_id, s.status, s.sessions, s.name
  from unnest(p_tenant_ids, p_user_ids, p_statuses, p_sessions, p_names)
    as s (tenant_id, user_id, status, sessions, name)
  where s.status is not null
  on conflict (tenant_id, user_id, node_id) do update
  set status = excluded.status, sessions = excluded.sessions, name = excluded.name,
    seen_at = excluded.seen_at;
  return true;
exception when foreign_key_violation then
  return false;
end
$$;

-- Called by a gateway: what every node says of the users of some tenants.
create or replace function chatsync.told_presence(p_tenant_ids text[])
returns table (
  tenant_id text, user_id text, node_id text, status text, sessions integer, name text,
  seen_at timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('chatsync.tenants', array_to_string(p_tenant_ids, ','), true);
  return query
  select p.tenant_id, p.user_id, p.node_id, p.status, p.sessions, p.name, p.seen_at
  from chatsync.presence p
  where p.tenant_id = any (p_tenant_ids);
end
$$;

grant execute on function
  chatsync.beat_node(text, double precision),
  chatsync.leave_node(text, double precision),
  chatsync.say_presence(text, text[], text[], text[], integer[], text[]),
  chatsync.told_presence(text[])
to chatsync_gateway, chatsync_worker;

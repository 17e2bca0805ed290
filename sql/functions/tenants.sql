-- Tenants and inboxes.

-- Makes a tenant and its stream; a tenant that is there keeps its name. Returns whether it is new.
create or replace function chatsync.create_tenant(p_tenant_id text, p_name text default null)
returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into chatsync.tenants (tenant_id, name) values (p_tenant_id, coalesce(p_name, p_tenant_id))
  on conflict (tenant_id) do nothing;
  if not found then
    return false;
  end if;
  -- A stream that is there may have events: who made it makes its head.
  with begun as (
    insert into chatsync.streams (tenant_id) values (p_tenant_id) on conflict (tenant_id) do nothing
    returning tenant_id
  )
  insert into chatsync.stream_heads (tenant_id, head) select tenant_id, 0 from begun;
  return true;
end
$$;

-- Makes an inbox and its lane, which stays for as long as the inbox does. Returns its id. An instance
-- of Evolution is closed until it says that it is paired.
-- Raises 23505 inbox_is_one_provider_account when another inbox has that account.
create or replace function chatsync.create_inbox(
  p_tenant_id text, p_provider text, p_external_id text, p_account_id text default null,
  p_app_secret text default null, p_access_token text default null, p_api_key text default null,
  p_base_url text default null
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_inbox_id bigint;
begin
  insert into chatsync.inboxes (
    tenant_id, provider, external_id, account_id, app_secret, access_token, api_key, base_url, state)
  values (
    p_tenant_id, p_provider, p_external_id, p_account_id, p_app_secret, p_access_token, p_api_key,
    p_base_url, case when p_provider = 'evolution' then 'close' else 'open' end)
  returning inbox_id into v_inbox_id;
  insert into chatsync.queue_lanes (lane, queue, tenant_id, inbox_id, ordering_key, is_permanent)
  values (
    chatsync.lane('inbound', p_tenant_id, v_inbox_id::text), 'inbound', p_tenant_id, v_inbox_id,
    v_inbox_id::text, true);
  return v_inbox_id;
end
$$;

-- Called by the gateway for the inboxes that a delivery names, before it may believe the delivery:
-- the only way by which it sees a secret. Tenants are not known yet, hence security definer.
create or replace function chatsync.resolve_inboxes(
  p_provider text, p_external_ids text[], p_account_ids text[] default '{}'
) returns table (
  inbox_id bigint, tenant_id text, external_id text, account_id text, app_secret text, api_key text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select i.inbox_id, i.tenant_id, i.external_id, i.account_id, i.app_secret, i.api_key
  from chatsync.inboxes i
  where i.provider = p_provider
    and (i.external_id = any (p_external_ids) or i.account_id = any (p_account_ids))
  order by i.inbox_id
$$;

-- Called by the gateway for a delivery whose address names the inbox, as resolve_inboxes() is.
create or replace function chatsync.resolve_inbox(p_provider text, p_inbox_id bigint) returns table (
  inbox_id bigint, tenant_id text, external_id text, account_id text, app_secret text, api_key text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select i.inbox_id, i.tenant_id, i.external_id, i.account_id, i.app_secret, i.api_key
  from chatsync.inboxes i
  where i.inbox_id = p_inbox_id and i.provider = p_provider
$$;

-- Called by `chatsync dev` alone, for a number or an instance that nobody owns.
create or replace function chatsync.adopt_inbox(
  p_tenant_id text, p_provider text, p_external_id text, p_secret text
) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform chatsync.create_inbox(
    p_tenant_id, p_provider, p_external_id,
    p_app_secret => case when p_provider <> 'evolution' then p_secret end,
    p_api_key => case when p_provider = 'evolution' then p_secret end);
exception when unique_violation then
  null; -- Another delivery was faster.
end
$$;

grant execute on function
  chatsync.create_tenant(text, text),
  chatsync.create_inbox(text, text, text, text, text, text, text, text),
  chatsync.adopt_inbox(text, text, text, text)
to chatsync_worker;
grant execute on function
  chatsync.resolve_inboxes(text, text[], text[]),
  chatsync.resolve_inbox(text, bigint)
to chatsync_gateway, chatsync_worker;

-- It knew one provider only.
drop function if exists chatsync.adopt_inbox(text, text, text);

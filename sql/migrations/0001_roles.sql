-- as: login
-- The roles that processes take by `set role`, the schema, and what every later file stands on.
-- Roles belong to the cluster: another database may be creating them at this very moment.

do $$
declare
  v_role text;
begin
  foreach v_role in array array['chatsync_owner', 'chatsync_worker', 'chatsync_gateway'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      begin
        execute format('create role %I nologin nosuperuser nobypassrls', v_role);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
    if not pg_catalog.pg_has_role(current_user, v_role, 'member')
      or current_setting('server_version_num')::int >= 160000 then
      begin
        -- From 16 on the creator of a role may administer it but not take it, until it says so.
        execute format(
          case when current_setting('server_version_num')::int >= 160000
            then 'grant %I to %I with inherit false, set true' else 'grant %I to %I' end,
          v_role, current_user);
      exception when insufficient_privilege or unique_violation or invalid_grant_operation then
        if not pg_catalog.pg_has_role(current_user, v_role, 'member') then
          raise;
        end if;
      end;
    end if;
  end loop;
end
$$;

create schema chatsync authorization chatsync_owner;

set local role chatsync_owner;

-- Only a default without a schema takes back what PostgreSQL grants to public on each new function.
alter default privileges for role chatsync_owner revoke execute on functions from public;

grant usage on schema chatsync to chatsync_worker, chatsync_gateway;

create table chatsync.schema_ledger (
  name text primary key,
  kind text not null constraint kind_is_known check (kind in ('migration', 'function', 'view')),
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp()
);
comment on table chatsync.schema_ledger is 'Which file of sql/ was applied, and when.';
grant select on chatsync.schema_ledger to chatsync_worker, chatsync_gateway;

-- The clock of every function; tests set chatsync.now to freeze it.
create function chatsync.now() returns timestamptz
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(nullif(current_setting('chatsync.now', true), '')::timestamptz, clock_timestamp())
$$;
grant execute on function chatsync.now() to public;

-- Called by migrations for each tenant table: forced row-level security, all rows for the owner
-- and the worker, and for the gateway the tenants that its transaction names.
create function chatsync.protect_tenant_table(p_table regclass) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('alter table %s enable row level security', p_table);
  execute format('alter table %s force row level security', p_table);
  execute format('create policy owner_sees_all on %s to chatsync_owner using (true)', p_table);
  execute format('create policy worker_sees_all on %s to chatsync_worker using (true)', p_table);
  execute format(
    'create policy gateway_sees_named_tenants on %s to chatsync_gateway using (tenant_id = any('
    'string_to_array(nullif(current_setting(''chatsync.tenants'', true), ''''), '','')))', p_table);
end
$$;

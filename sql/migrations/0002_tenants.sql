-- Who is served.

create table chatsync.tenants (
  tenant_id text primary key,
  name text not null,
  created_at timestamptz not null default chatsync.now(),
  -- The row-level policies join ids with commas, lanes with slashes, topics with colons.
  constraint tenant_id_is_plain check (tenant_id ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$')
);
comment on table chatsync.tenants is 'Organisations whose inboxes are served.';
select chatsync.protect_tenant_table('chatsync.tenants');
grant select, insert on chatsync.tenants to chatsync_worker;
grant select on chatsync.tenants to chatsync_gateway;

insert into chatsync.tenants (tenant_id, name)
values ('_unrouted', 'What belongs to nobody');

create table chatsync.inboxes (
  inbox_id bigint generated always as identity primary key,
  tenant_id text not null references chatsync.tenants (tenant_id),
  provider text not null,
  external_id text not null,
  account_id text,
  app_secret text,
  access_token text,
  api_key text,
  base_url text,
  state text not null default 'open',
  version bigint not null default 1,
  created_at timestamptz not null default chatsync.now(),
  constraint provider_is_known check (provider in ('whatsapp_cloud', 'evolution', 'standard')),
  constraint external_id_is_not_empty check (length(external_id) between 1 and 200),
  constraint inbox_is_one_provider_account unique (provider, external_id),
  constraint inbox_belongs_to_tenant unique (tenant_id, inbox_id)
);
comment on table chatsync.inboxes is 'Provider accounts: a phone number id or an instance each.';
comment on column chatsync.inboxes.account_id is 'WhatsApp business account; finds the inbox for notices without a number.';
-- Serves resolve_inboxes() for deliveries that name only the account.
create index inboxes_account_idx on chatsync.inboxes (provider, account_id);
select chatsync.protect_tenant_table('chatsync.inboxes');
grant select on chatsync.inboxes to chatsync_worker;
-- Secrets reach the gateway only through resolve_inboxes().
grant select (inbox_id, tenant_id, provider, external_id, account_id, state, version, created_at)
  on chatsync.inboxes to chatsync_gateway;

-- Who is online. Unlogged: a crash of PostgreSQL empties it, and the gateways, which know it, write
-- it again when they find their lease gone.

create unlogged table chatsync.gateway_nodes (
  node_id text primary key,
  lease_until timestamptz not null,
  constraint node_id_is_short check (length(node_id) between 1 and 64)
) with (fillfactor = 50);
comment on table chatsync.gateway_nodes is 'Living gateway processes: one lease each.';

create unlogged table chatsync.presence (
  tenant_id text not null,
  user_id text not null,
  -- What a dead node said goes with its lease, and nothing can be said without one.
  node_id text not null references chatsync.gateway_nodes (node_id) on delete cascade,
  status text not null,
  sessions integer not null,
  name text,
  seen_at timestamptz not null default chatsync.now(),
  primary key (tenant_id, user_id, node_id),
  constraint status_is_known check (status in ('online', 'busy', 'away')),
  constraint sessions_are_some check (sessions > 0)
);
comment on table chatsync.presence is 'Who is online, as each gateway says of its own sessions.';
comment on column chatsync.presence.seen_at is 'When the gateway last had something else to say of the user.';
-- Serves the cascade when a node is taken for dead.
create index presence_node_idx on chatsync.presence (node_id);
select chatsync.protect_tenant_table('chatsync.presence');
grant select, insert, update, delete on chatsync.presence to chatsync_gateway;
grant select on chatsync.presence to chatsync_worker;

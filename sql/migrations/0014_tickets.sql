-- Tickets, by which a browser's EventSource says who it is, and what applications publish over HTTP.

-- A ticket lives for a minute at most: one that a crash forgets is asked for anew.
create unlogged table chatsync.tickets (
  ticket_hash bytea primary key,
  tenant_id text not null,
  user_id text not null,
  claims jsonb not null,
  expires_at timestamptz not null,
  constraint ticket_is_hashed check (octet_length(ticket_hash) = 32)
);
comment on table chatsync.tickets is
  'Tickets that were given out and not used; whoever reads this table can use none of them.';
comment on column chatsync.tickets.claims is 'What the token said that the ticket was given for.';
-- Serves issue_ticket(): tickets that ran out.
create index tickets_expiry_idx on chatsync.tickets (expires_at);
-- Serves issue_ticket(): how many a user holds.
create index tickets_user_idx on chatsync.tickets (tenant_id, user_id, expires_at);
select chatsync.protect_tenant_table('chatsync.tickets');

-- Row-level security lets a gateway add to the tenants only that its transaction names.
grant insert on chatsync.outbox to chatsync_gateway;

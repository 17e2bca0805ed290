-- Single-use tickets: one row each, deleted by its use, and so good on any gateway and only once.

-- Called by a gateway for a user whose token it has checked. Keeps a ticket for p_seconds; false when the
-- user holds p_most already. Takes a few that ran out with it, so that nobody has to sweep.
create or replace function chatsync.issue_ticket(
  p_ticket_hash bytea, p_claims jsonb, p_seconds double precision, p_most integer
) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from chatsync.tickets
  where ticket_hash = any (array(
    select t.ticket_hash
    from chatsync.tickets t
    where t.expires_at <= chatsync.now()
    order by t.expires_at
    limit 20
    for update skip locked));
  if (
    select count(*)
    from chatsync.tickets t
    where t.tenant_id = p_claims ->> 'tenant' and t.user_id = p_claims ->> 'sub'
      and t.expires_at > chatsync.now()
  ) >= p_most then
    return false;
  end if;
  insert into chatsync.tickets (ticket_hash, tenant_id, user_id, claims, expires_at)
  values (
    p_ticket_hash, p_claims ->> 'tenant', p_claims ->> 'sub', p_claims,
    chatsync.now() + make_interval(secs => p_seconds));
  return true;
end
$$;

-- Called by a gateway that was shown a ticket. Returns its claims, to the first who asks and in time;
-- else null. Of two at once one waits for the other's commit, and finds nothing.
create or replace function chatsync.spend_ticket(p_ticket_hash bytea) returns jsonb
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  with spent as (
    delete from chatsync.tickets
    where ticket_hash = p_ticket_hash
    returning claims, expires_at
  )
  select claims from spent where expires_at > chatsync.now()
$$;

grant execute on function
  chatsync.issue_ticket(bytea, jsonb, double precision, integer),
  chatsync.spend_ticket(bytea)
to chatsync_gateway;

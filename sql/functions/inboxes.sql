-- What an operator sets of an inbox.

-- Called by `chatsync inbox set`. A message within so many hours of the last one reopens a resolved
-- conversation; 0 always begins a new one. Returns whether there is such an inbox.
create or replace function chatsync.set_reopen_hours(p_inbox_id bigint, p_hours integer) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  update chatsync.inboxes set reopen_hours = p_hours where inbox_id = p_inbox_id;
  return found;
end
$$;

grant execute on function chatsync.set_reopen_hours(bigint, integer) to chatsync_worker;

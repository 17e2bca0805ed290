-- The doorbell of foreign writers: psql and other languages. chatsync's own connections set
-- chatsync.doorbell to off and ring after their commits, since NOTIFY in a writing transaction
-- holds a cluster-wide lock until the commit is flushed.

create or replace function chatsync.ring() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('chatsync', '');
  return null;
end
$$;

create or replace trigger message_queue_rings
after insert on chatsync.message_queue
for each statement
when (current_setting('chatsync.doorbell', true) is distinct from 'off')
execute function chatsync.ring();

-- Only who stamps has to do with what is not numbered yet; its own bell then names the logs that grew.
create or replace function chatsync.ring_for_outbox() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_notify('chatsync', '{"outbox":true}');
  return null;
end
$$;

create or replace trigger outbox_rings
after insert on chatsync.outbox
for each statement
when (current_setting('chatsync.doorbell', true) is distinct from 'off')
execute function chatsync.ring_for_outbox();

-- Called by chatsync's own processes between their transactions, and by an operator's functions, which are
-- rare, inside of theirs: {p_name: p_values, by: p_by}, or a bare
-- "look" where that is too long for NOTIFY.
create or replace function chatsync.ring_hint(p_name text, p_values text[], p_by text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_payload text := json_build_object(p_name, p_values, 'by', p_by);
begin
  perform pg_notify('chatsync', case when octet_length(v_payload) <= 7900 then v_payload else '' end);
end
$$;

grant execute on function chatsync.ring(), chatsync.ring_for_outbox() to public;
grant execute on function chatsync.ring_hint(text, text[], text) to chatsync_worker, chatsync_gateway;

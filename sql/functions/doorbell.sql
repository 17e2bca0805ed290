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

-- Who holds the first looks at the outbox all the time; who holds the second, shared and until its
-- transaction ends, has written to the outbox and may not ring.
create or replace function chatsync.duty_lock() returns bigint
language sql immutable parallel safe
return x'63735f6475747921'::bigint;

create or replace function chatsync.silence_lock() returns bigint
language sql immutable parallel safe
return x'63735f73696c6e74'::bigint;

-- Only who stamps has to do with what is not numbered yet; its own bell then names the logs that grew.
-- While somebody is on duty nobody has to ring, and commits need not wait for each other. First the one lock
-- and then the look at the other: who goes off duty does it the other way round.
create or replace function chatsync.ring_for_outbox() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(chatsync.silence_lock());
  if pg_try_advisory_lock_shared(chatsync.duty_lock()) then
    perform pg_advisory_unlock_shared(chatsync.duty_lock());
    perform pg_notify('chatsync', '{"outbox":true}');
  end if;
  return null;
end
$$;

-- Called by a stamper that had much to do, on the connection that it keeps: whether it is on duty now, and is
-- to look at the outbox all the time. One that falls silent is put off duty, with its connection.
create or replace function chatsync.begin_duty() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not pg_try_advisory_lock(chatsync.duty_lock()) then
    return false;
  end if;
  perform set_config('idle_session_timeout', '1s', false);
  return true;
end
$$;

-- Called by who is on duty: others ring again. Then the stamper looks once more, and again while there
-- are silent_writers().
create or replace function chatsync.end_duty() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config('idle_session_timeout', '0', false);
  perform pg_advisory_unlock(chatsync.duty_lock());
end
$$;

-- Called by who went off duty, before it looks: whether somebody may still commit without ringing.
create or replace function chatsync.silent_writers() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not pg_try_advisory_lock(chatsync.silence_lock()) then
    return true;
  end if;
  perform pg_advisory_unlock(chatsync.silence_lock());
  return false;
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

grant execute on function
  chatsync.ring(), chatsync.ring_for_outbox(), chatsync.duty_lock(), chatsync.silence_lock()
to public;
grant execute on function chatsync.begin_duty(), chatsync.end_duty(), chatsync.silent_writers()
to chatsync_worker, chatsync_gateway;
grant execute on function chatsync.ring_hint(text, text[], text) to chatsync_worker, chatsync_gateway;

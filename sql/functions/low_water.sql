-- Where looks may begin, so that they do not walk over what is dead and cannot be removed.

-- Called by looks at ids. Nothing live has a lower id of this kind; 0 while nobody found out. Must be read
-- before the rows, or in one statement with them.
create or replace function chatsync.low_water(p_name text) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((
    select w.low from chatsync.low_waters w where w.name = p_name order by w.low_water_id desc limit 1), 0)
$$;

-- Called by raise_low_water(). The transactions that have drawn an id and are open: each holds a lock on
-- the sequence until it ends, from before it drew.
create or replace function chatsync.sequence_holders(p_sequence regclass) returns text[]
language sql
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(distinct l.virtualtransaction), '{}')
  from pg_locks l
  where l.locktype = 'relation' and l.relation = p_sequence and l.mode = 'RowExclusiveLock' and l.granted
    and l.database = (select oid from pg_database where datname = current_database())
$$;

-- Called by raise_low_water(). The first id from p_from on that is live, or null.
create or replace function chatsync.first_live_id(p_name text, p_from bigint) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
  return case p_name
    when 'outbox' then (select min(o.id) from chatsync.outbox o where o.id >= p_from)
    when 'leases' then least(
      (select min(m.keyless_lease_id) from chatsync.message_queue m where m.keyless_lease_id >= p_from),
      (select min(t.lease_id) from chatsync.lane_turns t where t.lease_id >= p_from))
    -- Messages live as long as they like: of each lane its turn knows.
  end;
end
$$;

-- Called every second by workers and, for the outbox, by whoever stamps. Moves the fence to where the ids
-- were when it was called last, once all have ended that had drawn one by then, and the low water up to
-- it or to what is live. Waits for nobody.
create or replace function chatsync.raise_low_water(p_name text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_sequence regclass := case p_name
    when 'messages' then 'chatsync.message_queue_id_seq'
    when 'leases' then 'chatsync.leases'
    when 'outbox' then 'chatsync.outbox_id_seq'
  end;
  v_last chatsync.low_waters;
  v_next chatsync.low_waters;
  v_drawn bigint;
  v_holders text[];
  v_is_waiting boolean;
begin
  if not pg_try_advisory_xact_lock(x'63736c77'::integer, hashtext(p_name)) then
    return;
  end if;
  select * into v_last
  from chatsync.low_waters w where w.name = p_name order by w.low_water_id desc limit 1;
  if v_last.raised_at > clock_timestamp() - interval '20 ms' then
    return;
  end if;
  -- First what was drawn, and then, in a new statement, who may have drawn it.
  execute format('select last_value + is_called::integer from %s', v_sequence) into v_drawn;
  v_holders := chatsync.sequence_holders(v_sequence);
  -- Prepared, a transaction has another name than before.
  v_is_waiting := v_last.holders && v_holders or array_to_string(v_holders, ' ') ~ '(^| )-1/';
  v_next.fence := case
    -- Somebody has set the sequence back.
    when v_last.candidate > v_drawn then 0
    when v_holders = '{}' then v_drawn
    when v_is_waiting then coalesce(v_last.fence, 0)
    else coalesce(v_last.candidate, 0)
  end;
  v_next.candidate := case when v_is_waiting then v_last.candidate else v_drawn end;
  v_next.holders := case when v_is_waiting then v_last.holders else v_holders end;
  v_next.low := least(
    v_next.fence,
    chatsync.first_live_id(p_name, least(coalesce(v_last.low, 0), v_next.fence)));
  if (v_next.low, v_next.fence, v_next.candidate, v_next.holders)
    is not distinct from (v_last.low, v_last.fence, v_last.candidate, v_last.holders) then
    return;
  end if;
  insert into chatsync.low_waters (name, low, fence, candidate, holders, raised_at)
  values (
    p_name, v_next.low, v_next.fence, coalesce(v_next.candidate, v_drawn),
    coalesce(v_next.holders, v_holders), clock_timestamp());
  delete from chatsync.low_waters where name = p_name and low_water_id = v_last.low_water_id;
end
$$;

-- Serves let_lanes_go(), whose turns say where looks begin: what enters a lane with the id that it got
-- long ago, as a message that was scheduled or in another queue, is noted beside them.
create or replace function chatsync.note_late_entry() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into chatsync.late_entries (lane, id) values (new.lane_key, new.id) on conflict do nothing;
  return null;
end
$$;

create or replace trigger message_queue_notes_late_entry
after update on chatsync.message_queue
for each row
when (new.lane_key is distinct from old.lane_key and new.lane_key is not null)
execute function chatsync.note_late_entry();

-- Whether so many rows are dead that walking over them shows, for whatever reason they are still there.
create or replace function chatsync.has_many_dead_rows() returns boolean
language sql stable
return greatest(
  pg_stat_get_dead_tuples('chatsync.message_queue'::regclass),
  pg_stat_get_dead_tuples('chatsync.lane_turns'::regclass)) > 5000;

grant execute on function
  chatsync.low_water(text),
  chatsync.raise_low_water(text),
  chatsync.has_many_dead_rows()
to chatsync_worker;

-- Where looks for work begin while dead rows stand before what is live in their indexes.

-- Called by look_for_work(). Where this session last saw the front of a queue, while that is fresh (is_own),
-- else where upkeep did: a rank of turns and one of messages without a key. Null: look from the beginning.
create or replace function chatsync.remembered_front(
  p_queue text, out turn_rank timestamp, out message_rank timestamp, out is_own boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_front jsonb := nullif(current_setting('chatsync.front', true), '')::jsonb -> p_queue;
begin
  is_own := coalesce((v_front ->> 'until')::timestamptz > clock_timestamp(), false);
  if is_own then
    turn_rank := v_front ->> 'turn';
    message_rank := v_front ->> 'message';
  else
    select f.turn_rank, f.message_rank into turn_rank, message_rank
    from chatsync.queue_fronts f
    where f.queue = p_queue and f.valid_until > clock_timestamp()
    order by f.queue_front_id desc
    limit 1;
  end if;
end
$$;

-- Called by look_for_work() with what it saw and since when it was looking. Only a session whose looks take
-- long remembers, and after a time in which looks from the beginning cost little; what came to be below it
-- meanwhile is seen then.
create or replace function chatsync.remember_front(
  p_queue text, p_turn_rank timestamp, p_message_rank timestamp, p_began_at timestamptz, p_is_own boolean
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_took interval := clock_timestamp() - p_began_at;
  v_newest timestamp := chatsync.newest_front();
  v_fronts jsonb := coalesce(nullif(current_setting('chatsync.front', true), ''), '{}');
  v_until timestamptz := v_fronts -> p_queue ->> 'until';
begin
  if not p_is_own then
    if v_took < interval '1 ms' or not chatsync.has_many_dead_rows() then
      return;
    end if;
    v_until := clock_timestamp() + least(50 * v_took, interval '5 s');
  end if;
  perform set_config('chatsync.front', (v_fronts || jsonb_build_object(p_queue, jsonb_build_object(
    'until', v_until,
    'turn', least(p_turn_rank, v_newest),
    'message', least(p_message_rank, v_newest))))::text, false);
end
$$;

-- What was written just now may be committed after what has a higher rank.
create or replace function chatsync.newest_front() returns timestamp
language sql stable
return chatsync.now() at time zone 'UTC' - interval '500 ms';

-- Called every second by workers, of their queues. Looks from the beginning on behalf of all sessions, where
-- that takes so long that claims would show it, and rests fifty times as long, three seconds at most.
create or replace function chatsync.raise_front(p_queue text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_began_at timestamptz := clock_timestamp();
  v_took interval;
  v_raise_at timestamptz;
  v_front record;
begin
  if not pg_try_advisory_xact_lock(x'63736672'::integer, hashtext(p_queue)) then
    return;
  end if;
  select f.raise_at into v_raise_at
  from chatsync.queue_fronts f
  where f.queue = p_queue
  order by f.queue_front_id desc
  limit 1;
  if v_raise_at > v_began_at then
    return;
  end if;
  delete from chatsync.queue_fronts where queue = p_queue;
  if not chatsync.has_many_dead_rows() then
    return;
  end if;
  select w.turn_rank, w.message_rank, w.limits into v_front
  from chatsync.look_for_work(p_queue, p_is_full => true) as w;
  v_took := clock_timestamp() - v_began_at;
  -- Where there are limits, each claim may bring back what is older than the front.
  if v_took >= interval '5 ms' and not v_front.limits then
    v_raise_at := clock_timestamp() + least(50 * v_took, interval '3 s');
    insert into chatsync.queue_fronts (queue, turn_rank, message_rank, raise_at, valid_until)
    values (
      p_queue, least(v_front.turn_rank, chatsync.newest_front()),
      least(v_front.message_rank, chatsync.newest_front()), v_raise_at, v_raise_at + interval '2 s');
  end if;
end
$$;

grant execute on function
  chatsync.remembered_front(text),
  chatsync.remember_front(text, timestamp, timestamp, timestamptz, boolean),
  chatsync.newest_front(),
  chatsync.raise_front(text)
to chatsync_worker;

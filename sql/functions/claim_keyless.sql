-- Taking messages without a key: nobody's order is at stake.

-- Called by claim() for messages without a key; p_claimed is what it has so far, for the limits.
create or replace function chatsync.claim_keyless(
  p_queue text, p_limit integer, p_is_suspect boolean, p_has_pauses boolean, p_has_limits boolean,
  p_claimed bigint[], p_from_rank timestamp default null
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
  v_ids bigint[];
  v_claimed bigint[] := p_claimed;
  v_left integer := p_limit;
  v_look integer := p_limit;
begin
  loop
    if p_is_suspect then
      select array_agg(m.id) into v_ids
      from (
        select id
        from chatsync.message_queue
        where queue = p_queue and keyless_status = 'pending' and deaths > 0
        order by id
        limit 1
        for no key update skip locked
      ) as m;
    else
      select array_agg(m.id order by m.position) into v_ids
      from (
        select m.id, row_number() over () as position
        from (
          select id
          from chatsync.message_queue
          -- Its own locks are none that a transaction skips.
          where queue = p_queue and keyless_status = 'pending' and deaths = 0
            and id <> all (v_claimed)
            and (scheduled_at at time zone 'UTC') - priority * interval '10 seconds'
              >= coalesce(p_from_rank, '-infinity')
          order by (scheduled_at at time zone 'UTC') - priority * interval '10 seconds', id
          limit v_look
          for no key update skip locked
        ) as m
      ) as m;
    end if;
    exit when v_ids is null;
    if p_has_pauses then
      v_ids := chatsync.park_messages(p_queue, v_ids);
    end if;
    if p_has_limits and v_ids is not null then
      v_ids := chatsync.fit_messages(p_queue, v_ids, v_left, v_claimed);
    end if;
    if v_ids is null then
      -- As with lanes: what has to be parked is walked once.
      v_look := 1000;
      continue;
    end if;
    v_claimed := v_claimed || v_ids[:v_left];
    v_left := p_limit - cardinality(v_claimed) + cardinality(p_claimed);
    v_look := v_left;
    exit when v_left = 0 or p_is_suspect or not (p_has_pauses or p_has_limits);
  end loop;
  return v_claimed;
end
$$;

grant execute on function
  chatsync.claim_keyless(text, integer, boolean, boolean, boolean, bigint[], timestamp)
to chatsync_worker;

-- Whole steps of a process in one round trip, each of several transactions: called in autocommit only.
-- A procedure that commits can have no search_path of its own, so every name here has its schema.

-- Called after commits that published: stamp_for(), then the bell in a transaction of its own, since NOTIFY
-- holds a cluster-wide lock until its commit is flushed, then the look at the outbox without the lock.
-- p_by is who rings, and need not listen to itself; null leaves the bell to the caller. p_tenants are those
-- whose logs grew, p_events what is new of those in p_followed; with p_is_left the caller comes again.
create or replace procedure chatsync.stamp_and_follow(
  p_limit integer, p_by text, p_followed text,
  inout p_tenants text[] default null, inout p_is_left boolean default null,
  inout p_events text[] default null
)
language plpgsql
as $$
declare
  v_heads jsonb;
begin
  select s.p_heads, s.p_events into v_heads, p_events from chatsync.stamp_for(p_limit, p_followed) as s;
  commit;
  if v_heads is null then
    -- Whoever holds the lock may have missed our event.
    p_is_left := true;
    return;
  end if;
  if v_heads <> '{}' then
    p_tenants := array(select pg_catalog.jsonb_object_keys(v_heads));
    if p_by is not null then
      perform chatsync.ring_hint('tenants', p_tenants, p_by);
      commit;
    end if;
  end if;
  p_is_left := chatsync.outbox_waiting();
end
$$;

-- Called by who reads none of it next: stamp_and_follow() for nobody.
create or replace procedure chatsync.stamp_and_ring(
  p_limit integer, p_by text, inout p_tenants text[] default null, inout p_is_left boolean default null
)
language plpgsql
as $$
declare
  v_events text[];
begin
  call chatsync.stamp_and_follow(p_limit, p_by, null, p_tenants, p_is_left, v_events);
end
$$;

-- Called by a gateway with a group of verified deliveries: enqueue_deliveries(), and then the bell, where
-- the gateway does not leave that to its ringer.
create or replace procedure chatsync.take_deliveries(
  p_inbox_ids bigint[], p_correlation_ids text[], p_bodies bytea[], p_metadata jsonb[],
  p_max_retries integer, p_by text
)
language plpgsql
as $$
begin
  perform chatsync.enqueue_deliveries(
    p_inbox_ids, p_correlation_ids, p_bodies, p_metadata, p_max_retries);
  commit;
  if p_by is not null then
    perform chatsync.ring_hint('queues', array['inbound'], p_by);
  end if;
end
$$;

-- Called by a producer whose bell has been still: enqueue_many(), and then the bell for p_queues.
create or replace procedure chatsync.enqueue_many_and_ring(
  p_messages jsonb, p_max_retries integer, p_queues text[], p_by text,
  inout p_ids bigint[] default null
)
language plpgsql
as $$
begin
  p_ids := chatsync.enqueue_many(p_messages, p_max_retries);
  commit;
  perform chatsync.ring_hint('queues', p_queues, p_by);
end
$$;

-- Called by a worker for a batch or, with p_is_part, a part of it: what it says becomes true and it is
-- settled, all of it or nothing; then stamp_and_ring(), where p_by does not leave that to others. With
-- p_has_more there is further work in its lanes. Raises what apply_inbound() and settle() raise.
create or replace procedure chatsync.process_deliveries(
  p_contacts jsonb, p_items jsonb, p_rejected jsonb, p_lease_id bigint, p_done bigint[],
  p_is_part boolean, p_by text,
  inout p_has_more boolean default null, inout p_tenants text[] default null,
  inout p_is_left boolean default null
)
language plpgsql
as $$
begin
  -- The flush of the stamp flushes this as well: until then nobody has an event of it, and after a crash
  -- the batch is in the queue again.
  perform pg_catalog.set_config('synchronous_commit', 'off', true);
  p_has_more := chatsync.apply_inbound_and_settle(
    p_contacts, p_items, p_rejected, p_lease_id, p_done, p_is_part);
  commit;
  if p_by is null then
    p_is_left := true;
    return;
  end if;
  call chatsync.stamp_and_ring(2000, p_by, p_tenants, p_is_left);
end
$$;

grant execute on procedure
  chatsync.stamp_and_follow(integer, text, text, text[], boolean, text[]),
  chatsync.stamp_and_ring(integer, text, text[], boolean)
to chatsync_worker, chatsync_gateway;
grant execute on procedure
  chatsync.take_deliveries(bigint[], text[], bytea[], jsonb[], integer, text)
to chatsync_gateway, chatsync_worker;
grant execute on procedure
  chatsync.enqueue_many_and_ring(jsonb, integer, text[], text, bigint[])
to chatsync_worker;
grant execute on procedure
  chatsync.process_deliveries(
    jsonb, jsonb, jsonb, bigint, bigint[], boolean, text, boolean, text[], boolean)
to chatsync_worker;

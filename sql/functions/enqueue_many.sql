-- Many messages in one call, of any queues and tenants.

-- Called by enqueue_many(). One row a message, as its JSON names the columns, with its place. Without a
-- search_path of its own, which would have its rows copied once more.
create or replace function chatsync.new_messages(p_messages jsonb) returns table (
  queue text, tenant_id text, message_type text, payload jsonb, ordering_key text, dedupe_key text,
  priority smallint, scheduled_at timestamptz, correlation_id text, metadata jsonb, inbox_id bigint,
  max_retries integer, place bigint
)
language sql stable
begin atomic
  select *
  from rows from (jsonb_to_recordset(p_messages) as (
    queue text, tenant_id text, message_type text, payload jsonb, ordering_key text, dedupe_key text,
    priority smallint, scheduled_at timestamptz, correlation_id text, metadata jsonb, inbox_id bigint,
    max_retries integer)) with ordinality;
end;

-- Called by enqueue_many(). The waiting messages that have the dedupe keys of an array, place by place.
create or replace function chatsync.first_of_keys(p_messages jsonb) returns bigint[]
language sql
set search_path = pg_catalog, pg_temp
as $$
  select array_agg((
    select q.id
    from chatsync.message_queue q
    where q.queue = m.queue and q.tenant_id = m.tenant_id and q.dedupe_key = m.dedupe_key)
    order by m.place)
  from chatsync.new_messages(p_messages) as m
$$;

-- Adds an array of {queue, tenant_id, payload, …} and returns their ids in that order; message_type is the
-- queue's name, and the rest as enqueue() has it, where they are left out. A dedupe key that is already
-- waiting, or that stands earlier in the array, gives the first one's id. Lock order: lanes by queue and
-- name, then dedupe keys. Raises CS003 outside READ COMMITTED, CS007 when a queue is full.
create or replace function chatsync.enqueue_many(p_messages jsonb, p_max_retries integer default 5)
returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  -- One moment for all: what counts as due when lanes are held must count as due when it is inserted.
  v_now timestamptz := chatsync.now();
  v_part record;
  v_has_dedupe_keys boolean := false;
  -- A random number for each message is a tenth of the whole; one for the call and the place in it will do.
  v_correlation_id text := gen_random_uuid()::text || '-';
  v_ids bigint[];
  v_first bigint[];
  v_found bigint[] := '{}';
begin
  -- Only what it takes to hold lanes: to read all of a message is a tenth of the whole.
  for v_part in
    select m.queue, bool_or(m.dedupe_key is not null) as has_dedupe_keys,
      array_agg(m.tenant_id) as tenant_ids, array_agg(m.inbox_id) as inbox_ids,
      -- What comes later joins its lane when it is due.
      array_agg(case when m.scheduled_at > v_now then null else m.ordering_key end) as ordering_keys,
      array_agg(coalesce(m.priority, 0::smallint)) as priorities
    from jsonb_to_recordset(p_messages) as m (
      queue text, tenant_id text, ordering_key text, dedupe_key text, priority smallint,
      scheduled_at timestamptz, inbox_id bigint)
    group by m.queue
    order by m.queue
  loop
    perform chatsync.refuse_if_full(v_part.queue);
    perform chatsync.hold_lanes(
      v_part.queue, v_part.tenant_ids, v_part.inbox_ids, v_part.ordering_keys, v_part.priorities);
    v_has_dedupe_keys := v_has_dedupe_keys or v_part.has_dedupe_keys;
  end loop;
  -- Ids are given out beforehand, so that they follow the array while rows are inserted in the order of
  -- their dedupe keys: two calls with the same keys wait for each other, and never both.
  v_ids := array(
    select nextval('chatsync.message_queue_id_seq')
    from generate_series(1, jsonb_array_length(p_messages)));
  if v_has_dedupe_keys then
    v_first := chatsync.first_of_keys(p_messages);
  end if;
  perform set_config('chatsync.lanes_held', 'yes', true);
  loop
    insert into chatsync.message_queue (
      id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, dedupe_key,
      payload, metadata, priority, max_retries, scheduled_at, status)
    overriding system value
    select v_ids[m.place], m.queue, m.tenant_id, m.inbox_id, coalesce(m.message_type, m.queue),
      coalesce(m.correlation_id, v_correlation_id || m.place), m.ordering_key, m.dedupe_key,
      m.payload, coalesce(m.metadata, '{}'), coalesce(m.priority, 0),
      coalesce(m.max_retries, p_max_retries), coalesce(m.scheduled_at, v_now),
      case when m.scheduled_at > v_now then 'scheduled' else 'pending' end
    from chatsync.new_messages(p_messages) as m
    where v_found[m.place] is null
    order by m.queue, m.tenant_id, m.dedupe_key, m.place
    on conflict (queue, tenant_id, dedupe_key) where dedupe_key is not null do nothing;
    if not v_has_dedupe_keys then
      v_found := v_ids;
      exit;
    end if;
    -- In a new snapshot, which shows what another transaction committed while this one waited for it.
    v_found := chatsync.first_of_keys(p_messages);
    -- The first one may have been done meanwhile; it was the first all the same. To insert now would be to
    -- wait for a key after later ones are held, and two calls might wait for each other.
    select array_agg(
      case when m.dedupe_key is null then v_ids[m.place] else coalesce(v_found[m.place], v_first[m.place]) end
      order by m.place)
    into v_found
    from chatsync.new_messages(p_messages) as m;
    -- It came and was done between the two looks: rare enough to try again.
    exit when array_position(v_found, null) is null;
  end loop;
  perform set_config('chatsync.lanes_held', '', true);
  return coalesce(v_found, '{}');
end
$$;

grant execute on function chatsync.enqueue_many(jsonb, integer) to chatsync_producer, chatsync_worker;

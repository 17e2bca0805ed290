-- Ways into the queue. Any SQL client may also insert into message_queue.

-- Adds one message and returns its id; with a dedupe key that is already waiting, the first one's id.
-- A producer may look for that one here alone, hence security definer. Raises CS003 outside READ COMMITTED,
-- CS007 when the queue is full.
create or replace function chatsync.enqueue(
  p_queue text,
  p_tenant_id text,
  p_message_type text,
  p_payload jsonb,
  p_ordering_key text default null,
  p_dedupe_key text default null,
  p_priority smallint default 0,
  p_scheduled_at timestamptz default null,
  p_correlation_id text default null,
  p_metadata jsonb default '{}',
  p_inbox_id bigint default null,
  p_max_retries integer default 5
) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_id bigint;
begin
  perform chatsync.refuse_if_full(p_queue);
  loop
    insert into chatsync.message_queue (
      queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, dedupe_key,
      payload, metadata, priority, max_retries, scheduled_at, status)
    values (
      p_queue, p_tenant_id, p_inbox_id, p_message_type,
      coalesce(p_correlation_id, gen_random_uuid()::text), p_ordering_key, p_dedupe_key,
      p_payload, p_metadata, p_priority, p_max_retries, coalesce(p_scheduled_at, chatsync.now()),
      case when p_scheduled_at > chatsync.now() then 'scheduled' else 'pending' end)
    on conflict (queue, tenant_id, dedupe_key) where dedupe_key is not null do nothing
    returning id into v_id;
    exit when v_id is not null;
    select id into v_id
    from chatsync.message_queue
    where queue = p_queue and tenant_id = p_tenant_id and dedupe_key = p_dedupe_key;
    -- The first one may have been done between the two statements.
    exit when v_id is not null;
  end loop;
  return v_id;
end
$$;

-- Called by the gateway with a group of verified webhook deliveries, in the order of their arrival.
-- The tenant of a delivery is its inbox's; an inbox that is gone sends it to the dead letters.
-- No metadata at all, or none for a delivery, is {}. Lock order: lanes by name. Raises CS007 when the queue
-- is full.
create or replace function chatsync.enqueue_deliveries(
  p_inbox_ids bigint[], p_correlation_ids text[], p_bodies bytea[], p_metadata jsonb[] default null,
  p_max_retries integer default 5
) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  v_enqueued bigint;
begin
  perform chatsync.refuse_if_full('inbound');
  perform chatsync.hold_lanes(
    'inbound', array_agg(i.tenant_id), array_agg(i.inbox_id), array_agg(i.inbox_id::text),
    array_agg(0::smallint))
  from chatsync.inboxes i
  where i.inbox_id = any (p_inbox_ids);
  perform set_config('chatsync.lanes_held', 'yes', true);
  insert into chatsync.message_queue (
    queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, body, metadata,
    max_retries)
  select 'inbound', i.tenant_id, i.inbox_id, i.provider, d.correlation_id, i.inbox_id::text, d.body,
    coalesce(d.metadata, '{}'), p_max_retries
  from unnest(p_inbox_ids, p_correlation_ids, p_bodies, p_metadata)
    with ordinality as d (inbox_id, correlation_id, body, metadata, position)
  join chatsync.inboxes i on i.inbox_id = d.inbox_id
  order by d.position;
  get diagnostics v_enqueued = row_count;
  perform set_config('chatsync.lanes_held', '', true);
  if v_enqueued = cardinality(p_inbox_ids) then
    return;
  end if;
  insert into chatsync.failed_messages (
    queue, tenant_id, correlation_id, message_type, payload, metadata, error_message)
  select 'inbound', '_unrouted', d.correlation_id, 'delivery', d.body, coalesce(d.metadata, '{}'),
    'the inbox no longer exists'
  from unnest(p_inbox_ids, p_correlation_ids, p_bodies, p_metadata)
    as d (inbox_id, correlation_id, body, metadata)
  where not exists (select from chatsync.inboxes i where i.inbox_id = d.inbox_id);
end
$$;

-- Called by the gateway for a delivery that is genuine but that nobody can process.
create or replace function chatsync.reject_delivery(
  p_tenant_id text, p_inbox_id bigint, p_correlation_id text, p_message_type text,
  p_body bytea, p_summary jsonb, p_error text, p_metadata jsonb default '{}'
) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.failed_messages (
    queue, tenant_id, inbox_id, correlation_id, message_type, payload, summary, error_message,
    metadata)
  values (
    'inbound', p_tenant_id, p_inbox_id, p_correlation_id, p_message_type, p_body, p_summary, p_error,
    p_metadata)
$$;

grant execute on function
  chatsync.enqueue(text, text, text, jsonb, text, text, smallint, timestamptz, text, jsonb, bigint, integer)
to chatsync_producer, chatsync_worker;
grant execute on function
  chatsync.enqueue_deliveries(bigint[], text[], bytea[], jsonb[], integer),
  chatsync.reject_delivery(text, bigint, text, text, bytea, jsonb, text, jsonb)
to chatsync_gateway, chatsync_worker;

-- They knew no metadata.
drop function if exists chatsync.enqueue_deliveries(bigint[], text[], bytea[]);
drop function if exists chatsync.reject_delivery(text, bigint, text, text, bytea, jsonb, text);

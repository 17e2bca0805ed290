-- Dead letters: back into the queue, or away for good.

-- Called by the functions below: the dead letters that all given filters name. Raises CS006 without any,
-- so that nobody redrives or purges everything by a slip.
create or replace function chatsync.find_dead_letters(
  p_queue text, p_tenant_id text, p_error_like text, p_since timestamptz, p_until timestamptz,
  p_correlation_id text, p_ids bigint[]
) returns setof bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if num_nonnulls(
    p_queue, p_tenant_id, p_error_like, p_since, p_until, p_correlation_id, p_ids) = 0 then
    raise exception 'a filter is needed' using errcode = 'CS006',
      hint = 'Name a queue, a tenant, an error, a time, a correlation id or ids; p_error_like => ''%'' is all.';
  end if;
  return query
  select f.id
  from chatsync.failed_messages f
  where (p_queue is null or f.queue = p_queue)
    and (p_tenant_id is null or f.tenant_id = p_tenant_id)
    and (p_error_like is null or f.error_message like p_error_like)
    and (p_since is null or f.failed_at >= p_since)
    and (p_until is null or f.failed_at < p_until)
    and (p_correlation_id is null or f.correlation_id = p_correlation_id)
    and (p_ids is null or f.id = any (p_ids));
end
$$;

-- Called by redrive(). Inbound dead letters can go back only while somebody can process them: not without
-- an inbox, nor an item that was put aside of its delivery, whose other items were applied.
create or replace function chatsync.can_be_redriven(p_message chatsync.failed_messages) returns boolean
language sql stable
return (p_message).tenant_id <> '_unrouted'
  and ((p_message).queue <> 'inbound' or (p_message).message_type <> 'item' and exists (
    select from chatsync.inboxes i
    where i.inbox_id = (p_message).inbox_id and i.tenant_id = (p_message).tenant_id));

-- Called by redrive(): dead letters as the queue messages that they were, in their first order. A delivery
-- that the gateway rejected goes the way of those that it took.
create or replace function chatsync.revived(p_ids bigint[]) returns table (
  failed_id bigint, queue text, tenant_id text, inbox_id bigint, message_type text,
  correlation_id text, ordering_key text, payload jsonb, body bytea, metadata jsonb, priority smallint,
  max_retries integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select f.id, f.queue, f.tenant_id, f.inbox_id,
    case when d.is_rejected then i.provider else f.message_type end,
    f.correlation_id,
    case when d.is_rejected then f.inbox_id::text else f.ordering_key end,
    case when not d.is_rejected then f.summary end,
    -- What was a payload has a summary with the same text.
    case when d.is_rejected or f.payload is distinct from convert_to(f.summary::text, 'UTF8')
      then f.payload end,
    case jsonb_typeof(f.metadata)
      when 'object' then f.metadata else jsonb_build_object('metadata', f.metadata)
    end || jsonb_strip_nulls(jsonb_build_object(
      -- Redriven twice, it is still the first one's.
      'originalMessageId', coalesce(f.metadata -> 'originalMessageId', to_jsonb(f.original_message_id)),
      'redrivenFrom', f.id,
      'failureCount', f.failure_count)),
    f.priority, f.max_retries
  from chatsync.failed_messages f
  left join chatsync.inboxes i on i.inbox_id = f.inbox_id and i.tenant_id = f.tenant_id
  cross join lateral (select f.queue = 'inbound' and f.message_type = 'delivery' as is_rejected) as d
  where f.id = any (p_ids)
  order by f.original_message_id nulls last, f.id
$$;

-- Puts dead letters back into the queue, behind what waits there, each under a new id; in their first
-- order, so that each key keeps its own. What nobody can process stays, and a notice says how much. Raises
-- CS006 without a filter, CS003 outside READ COMMITTED. Lock order: dead letters, without waiting; lanes.
create or replace function chatsync.redrive(
  p_queue text default null, p_tenant_id text default null, p_error_like text default null,
  p_since timestamptz default null, p_until timestamptz default null,
  p_correlation_id text default null, p_ids bigint[] default null, p_limit integer default 1000,
  p_dry_run boolean default false
) returns table (failed_id bigint, new_id bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_found bigint[];
  v_staying bigint;
  v_ids bigint[];
  v_queue text;
begin
  perform chatsync.require_read_committed();
  v_found := array(select * from chatsync.find_dead_letters(
    p_queue, p_tenant_id, p_error_like, p_since, p_until, p_correlation_id, p_ids));
  select count(*) into v_staying
  from chatsync.failed_messages f
  where f.id = any (v_found) and not chatsync.can_be_redriven(f);
  if v_staying > 0 then
    raise notice '% dead letters stay: nobody can process them', v_staying;
  end if;
  v_ids := array(
    select f.id
    from chatsync.failed_messages f
    where f.id = any (v_found) and chatsync.can_be_redriven(f)
    order by f.original_message_id nulls last, f.id
    limit p_limit);
  if p_dry_run then
    return query select d.id, null::bigint from unnest(v_ids) as d (id);
    return;
  end if;
  -- Those that another call redrives or purges at this moment are its own.
  v_ids := array(
    select f.id from chatsync.failed_messages f where f.id = any (v_ids) for update skip locked);
  for v_queue in select distinct r.queue from chatsync.revived(v_ids) as r order by 1 loop
    perform chatsync.hold_lanes(
      v_queue, array_agg(r.tenant_id), array_agg(r.inbox_id), array_agg(r.ordering_key),
      array_agg(r.priority))
    from chatsync.revived(v_ids) as r
    where r.queue = v_queue;
  end loop;
  perform set_config('chatsync.lanes_held', 'yes', true);
  return query
  insert into chatsync.message_queue (
    queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key, payload, body, metadata,
    priority, max_retries)
  select r.queue, r.tenant_id, r.inbox_id, r.message_type, r.correlation_id, r.ordering_key, r.payload,
    r.body, r.metadata, r.priority, r.max_retries
  from chatsync.revived(v_ids) with ordinality as r
  order by r.ordinality
  returning (metadata ->> 'redrivenFrom')::bigint, id;
  perform set_config('chatsync.lanes_held', '', true);
  delete from chatsync.failed_messages f where f.id = any (v_ids);
end
$$;
comment on function chatsync.redrive is 'Puts dead letters back into the queue; a filter is required.';

-- Deletes dead letters for good, oldest first; returns how many. Raises CS006 without a filter. Waits for
-- nobody: those that are being redriven at that moment stay out of it.
create or replace function chatsync.purge_dead_letters(
  p_queue text default null, p_tenant_id text default null, p_error_like text default null,
  p_since timestamptz default null, p_until timestamptz default null,
  p_correlation_id text default null, p_ids bigint[] default null,
  p_before timestamptz default null, p_limit integer default 10000, p_dry_run boolean default false
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    select d.id
    from chatsync.find_dead_letters(
      p_queue, p_tenant_id, p_error_like, p_since, least(p_until, p_before), p_correlation_id, p_ids)
      as d (id)
    order by d.id
    limit p_limit);
  if not p_dry_run then
    v_ids := array(
      select f.id from chatsync.failed_messages f where f.id = any (v_ids) for update skip locked);
    delete from chatsync.failed_messages f where f.id = any (v_ids);
  end if;
  return cardinality(v_ids);
end
$$;
comment on function chatsync.purge_dead_letters is 'Deletes dead letters for good; a filter is required.';

grant execute on function
  chatsync.redrive(text, text, text, timestamptz, timestamptz, text, bigint[], integer, boolean),
  chatsync.purge_dead_letters(
    text, text, text, timestamptz, timestamptz, text, bigint[], timestamptz, integer, boolean)
to chatsync_operator, chatsync_worker;

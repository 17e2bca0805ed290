-- What an admin does with the queue over HTTP: the operators' functions, one message at a time.

-- Called for GET /api/queue: the rows of queue_depth, which reads the whole queue.
create or replace function chatsync.queue_overview() returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'queue', d.queue,
    'scheduled', d.scheduled,
    'pending', d.pending,
    'processing', d.processing,
    'retrying', d.retrying,
    'paused', d.paused,
    'dead', d.dead,
    'oldestClaimableSeconds', round(extract(epoch from d.oldest_claimable), 3),
    'isPaused', exists (
      select
      from chatsync.queue_pauses p
      where p.queue = d.queue and p.tenant_id is null
        and (p.paused_until is null or p.paused_until > chatsync.now()))
    ) order by d.queue), '[]')
  from chatsync.queue_depth d
$$;

-- Called for GET /api/queue/failed: dead letters without their payloads, the newest first, those before
-- the id p_before where one is given.
create or replace function chatsync.failed_page(p_queue text, p_before bigint, p_limit integer)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', f.id::text,
    'queue', f.queue,
    'tenantId', f.tenant_id,
    'messageType', f.message_type,
    'correlationId', f.correlation_id,
    'failureCount', f.failure_count,
    'errorMessage', f.error_message,
    'failedAt', chatsync.wire_time(f.failed_at)
    ) order by f.id desc), '[]')
  from (
    select *
    from chatsync.failed_messages m
    where (p_queue is null or m.queue = p_queue) and (p_before is null or m.id < p_before)
    order by m.id desc
    limit p_limit
  ) as f
$$;

-- Called for POST /api/queue/failed/{id}/redrive: redrive() of one dead letter. Returns the id of its new
-- message; null when there is no such dead letter, or nobody can process it.
create or replace function chatsync.redrive_one(p_id bigint) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new_id bigint;
begin
  select r.new_id into v_new_id from chatsync.redrive(p_ids => array[p_id]) r;
  -- A gateway's own connections leave the bell to those who know whom they ring for.
  perform pg_notify('chatsync', '');
  return v_new_id;
end
$$;

-- Called for POST /api/queue/failed/{id}/discard: whether there was such a dead letter.
create or replace function chatsync.discard_one(p_id bigint) returns boolean
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.purge_dead_letters(p_ids => array[p_id]) > 0
$$;

-- Called for POST /api/queue/{queue}/pause and /resume: of a whole queue and of nothing narrower.
create or replace function chatsync.rest_queue(p_queue text, p_reason text) returns void
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.pause(p_queue, p_reason => p_reason)
$$;

create or replace function chatsync.wake_queue(p_queue text) returns boolean
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.resume(p_queue)
$$;

grant execute on function
  chatsync.queue_overview(),
  chatsync.failed_page(text, bigint, integer),
  chatsync.redrive_one(bigint),
  chatsync.discard_one(bigint),
  chatsync.rest_queue(text, text),
  chatsync.wake_queue(text)
to chatsync_gateway;

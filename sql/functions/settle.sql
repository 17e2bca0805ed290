-- Giving work back: done, failed or untouched. The fence is the lease: work that was handed to
-- another worker in the meantime cannot be settled, and what was done in the same transaction is undone.

-- Ends a lease as a whole or, with p_is_part, what is named of it; the lanes stay held until the last
-- part. p_failed holds {id, error, isPermanent, retryAfterSeconds} objects;
-- p_untouched goes back without being charged an attempt. Lock order: messages, then lanes.
-- Returns whether a lane of theirs has further work. Raises CS001 when any of them is no longer held
-- under this lease, CS002 when some are left out.
create or replace function chatsync.settle(
  p_lease_id bigint, p_done bigint[], p_failed jsonb default '[]', p_untouched bigint[] default '{}',
  p_is_part boolean default false
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
declare
  v_is_archived boolean := false;
  v_settled integer;
  v_count integer;
begin
  -- Alone it costs two microseconds; one condition with the next would be a join, and cost ten.
  if exists (select from chatsync.queue_policies where archive_days > 0) then
    -- One lease is of one queue.
    v_is_archived := exists (
      select from chatsync.message_queue m
      join chatsync.queue_policies p on p.queue = m.queue
      where m.id = p_done[1] and p.archive_days > 0);
  end if;
  if v_is_archived then
    v_settled := chatsync.archive_done(p_lease_id, p_done);
  else
    delete from chatsync.message_queue where id = any (p_done) and lease_id = p_lease_id;
    get diagnostics v_settled = row_count;
  end if;
  if jsonb_array_length(p_failed) > 0 then
    v_settled := v_settled + chatsync.settle_failed(p_lease_id, p_failed);
  end if;
  if cardinality(p_untouched) > 0 then
    update chatsync.message_queue
    set status = 'pending', lease_id = null, worker_id = null, retry_count = retry_count - 1
    where id = any (p_untouched) and lease_id = p_lease_id;
    get diagnostics v_count = row_count;
    v_settled := v_settled + v_count;
  end if;
  if v_settled <> cardinality(p_done) + jsonb_array_length(p_failed) + cardinality(p_untouched) then
    raise exception 'lease % is lost', p_lease_id using errcode = 'CS001';
  end if;
  if p_is_part then
    return true;
  end if;
  if exists (select from chatsync.leased_messages where lease_id = p_lease_id) then
    raise exception 'lease % has messages that were not settled', p_lease_id using errcode = 'CS002';
  end if;
  return coalesce((
    select chatsync.let_lanes_go(array_agg(lane))
    from chatsync.lane_turns
    where lease_id = p_lease_id
    having count(*) > 0), false)
    -- What waits for the room that this lease took.
    or exists (select from chatsync.limit_buckets where is_crowded);
end
$$;

-- Settles some messages of a lease, as settle(), and lets go the lanes of which it then holds nothing. For
-- messages that end one by one: a slow one keeps nobody but its own key waiting. Returns whether a lane
-- that was let go has further work. Raises CS001.
create or replace function chatsync.settle_some(
  p_lease_id bigint, p_done bigint[], p_failed jsonb default '[]', p_untouched bigint[] default '{}'
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
begin
  perform chatsync.settle(p_lease_id, p_done, p_failed, p_untouched, p_is_part => true);
  return coalesce((
    select chatsync.let_lanes_go(array_agg(t.lane))
    from chatsync.lane_turns t
    where t.lease_id = p_lease_id
      and not t.lane = any (array(
        select m.lane_key
        from chatsync.leased_messages m
        where m.lease_id = p_lease_id and m.lane_key is not null))
    having count(*) > 0), false)
    or exists (select from chatsync.limit_buckets where is_crowded);
end
$$;

-- Called by settle(). Notes the attempts, and dead-letters what is permanent or out of them; the rest waits:
-- exponential backoff with full jitter, or what the provider asked for. Returns how many were held.
create or replace function chatsync.settle_failed(p_lease_id bigint, p_failed jsonb) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy chatsync.queue_policies;
  v_dead integer;
  v_retried integer;
begin
  -- One lease is of one queue.
  select p.* into v_policy
  from chatsync.queue_policies p
  where p.queue = (
    select m.queue from chatsync.message_queue m where m.id = (p_failed -> 0 ->> 'id')::bigint);
  perform chatsync.note_attempts(p_failed, 'failed');
  perform chatsync.dead_letter(m.id, f.error)
  from jsonb_to_recordset(p_failed) as f (id bigint, error text, "isPermanent" boolean)
  join chatsync.message_queue m on m.id = f.id and m.lease_id = p_lease_id
  where f."isPermanent" or m.retry_count > m.max_retries;
  get diagnostics v_dead = row_count;
  update chatsync.message_queue m
  set
    status = case
      when m.ordering_key is not null and v_policy.when_head_fails = 'skip' then 'scheduled'
      else 'retrying'
    end,
    lease_id = null,
    worker_id = null,
    deaths = 0,
    last_error = f.error,
    scheduled_at = chatsync.now() + make_interval(secs => coalesce(
      f."retryAfterSeconds",
      -- The exponent is capped: 2^30 base intervals are beyond any cap, 2^1024 is an error.
      random() * least(
        coalesce(v_policy.backoff_cap_seconds, 300),
        coalesce(v_policy.backoff_base_seconds, 1) * 2 ^ least(m.retry_count, 30))))
  from jsonb_to_recordset(p_failed)
    as f (id bigint, error text, "retryAfterSeconds" double precision)
  where m.id = f.id and m.lease_id = p_lease_id;
  get diagnostics v_retried = row_count;
  return v_dead + v_retried;
end
$$;

-- Moves one message to the dead letters, with how its attempts failed.
create or replace function chatsync.dead_letter(p_id bigint, p_error text) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with deleted as (
    delete from chatsync.message_queue where id = p_id returning *
  )
  insert into chatsync.failed_messages (
    original_message_id, queue, tenant_id, inbox_id, correlation_id, message_type, ordering_key,
    payload, summary, error_message, failure_count, attempts, metadata, priority, max_retries)
  select id, queue, tenant_id, inbox_id, correlation_id, message_type, ordering_key,
    coalesce(body, convert_to(payload::text, 'UTF8')), payload, p_error, retry_count,
    chatsync.attempts_of(id), metadata, priority, max_retries
  from deleted
$$;

-- One round trip and one commit for the end of a batch and the start of the next.
create or replace function chatsync.settle_and_claim(
  p_lease_id bigint, p_done bigint[], p_failed jsonb, p_untouched bigint[],
  p_queue text, p_worker_id bigint, p_limit integer
) returns setof chatsync.message_queue
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  perform chatsync.settle(p_lease_id, p_done, p_failed, p_untouched);
  return query select * from chatsync.claim(p_queue, p_worker_id, p_limit);
end
$$;

-- Gives a whole lease back untouched, after a failed fence or at shutdown. Succeeds in any case.
create or replace function chatsync.release(p_lease_id bigint) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
set enable_seqscan = off
as $$
begin
  update chatsync.message_queue
  set status = 'pending', lease_id = null, worker_id = null, retry_count = retry_count - 1
  where lease_id = p_lease_id
    and id = any (array(select m.id from chatsync.leased_messages m where m.lease_id = p_lease_id));
  update chatsync.lane_turns
  set lease_id = null, worker_id = null, first_id = null, last_id = null
  where lease_id = p_lease_id;
end
$$;

grant execute on function
  chatsync.settle(bigint, bigint[], jsonb, bigint[], boolean),
  chatsync.settle_some(bigint, bigint[], jsonb, bigint[]),
  chatsync.settle_failed(bigint, jsonb),
  chatsync.dead_letter(bigint, text),
  chatsync.settle_and_claim(bigint, bigint[], jsonb, bigint[], text, bigint, integer),
  chatsync.release(bigint)
to chatsync_worker;

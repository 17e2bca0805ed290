-- What became of one webhook.

-- Called by timeline(): events of a correlation, numbered or not, with the ids that they name.
create or replace function chatsync.correlated_events(p_correlation_id text, p_since timestamptz)
returns table (
  tenant_id text, seq bigint, type text, created_at timestamptz, stamped_at timestamptz,
  message_id bigint, conversation_id bigint)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  select e.tenant_id, e.seq, e.type, e.created_at, e.stamped_at,
    -- Others publish events as well, with ids of their own.
    substring(coalesce(e.data #>> '{message,id}', e.data ->> 'messageId') from '^\d{1,18}$')::bigint,
    substring(
      coalesce(e.data #>> '{conversation,id}', e.data ->> 'conversationId') from '^\d{1,18}$')::bigint
  from (
    select l.tenant_id, l.seq, l.type, l.created_at, l.stamped_at, l.data
    from chatsync.event_log l
    where l.correlation_id = p_correlation_id
      and l.stamped_at >= coalesce(p_since, '-infinity')
    union all
    select o.tenant_id, null, o.type, o.created_at, null, o.data
    from chatsync.outbox o
    where o.correlation_id = p_correlation_id
  ) as e
$$;

-- Called by timeline(): attempts of messages of a correlation that failed, of dead letters also those whose
-- day was dropped.
create or replace function chatsync.told_attempts(p_correlation_id text, p_since timestamptz)
returns table (message_id bigint, queue text, at timestamptz, attempt integer, detail jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  with kept as materialized (
    select *
    from chatsync.failed_attempts a
    where a.correlation_id = p_correlation_id and a.failed_at >= coalesce(p_since, '-infinity')
  )
  select k.message_id, k.queue, coalesce(k.claimed_at, k.failed_at), k.attempt, jsonb_build_object(
    'workerId', k.worker_id, 'worker', k.worker, 'failedAt', chatsync.wire_time(k.failed_at),
    'outcome', k.outcome, 'error', k.error)
  from kept k
  union all
  select f.original_message_id, f.queue, coalesce(a."claimedAt", a."failedAt"), a.attempt,
    jsonb_build_object(
      'workerId', a."workerId", 'worker', a.worker, 'failedAt', chatsync.wire_time(a."failedAt"),
      'outcome', a.outcome, 'error', a.error)
  from chatsync.failed_messages f
  cross join jsonb_to_recordset(f.attempts) as a (
    attempt integer, "workerId" bigint, worker text, "claimedAt" timestamptz, "failedAt" timestamptz,
    outcome text, error text)
  where f.correlation_id = p_correlation_id and a."failedAt" >= coalesce(p_since, '-infinity')
    and not exists (
      select from kept k where k.message_id = f.original_message_id and k.attempt = a.attempt)
$$;

-- Called by timeline(): what the queue knows of a correlation: enqueued, attempted, due, done (where the queue
-- has an archive), dead_lettered.
create or replace function chatsync.queue_story(p_correlation_id text, p_since timestamptz)
returns table (rank integer, id bigint, at timestamptz, what text, detail jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  with queued as materialized (
    select m.id, m.queue, m.tenant_id, m.inbox_id, m.message_type, m.ordering_key, m.status,
      m.priority, m.metadata, m.created_at, m.processed_at, m.scheduled_at, m.retry_count,
      m.worker_id, m.last_error, m.deaths, null::timestamptz as done_at
    from chatsync.message_queue m
    where m.correlation_id = p_correlation_id
    union all
    select a.id, a.queue, a.tenant_id, a.inbox_id, a.message_type, a.ordering_key, 'done',
      a.priority, a.metadata, a.created_at, a.processed_at, a.scheduled_at, a.retry_count,
      a.worker_id, a.last_error, null, a.done_at
    from chatsync.message_archive a
    where a.correlation_id = p_correlation_id and a.done_at >= coalesce(p_since, '-infinity')
  ),
  tried as materialized (
    select * from chatsync.told_attempts(p_correlation_id, p_since)
  )
  select 1, q.id, q.created_at, 'enqueued', jsonb_build_object(
    'id', q.id, 'queue', q.queue,
    'tenantId', q.tenant_id, 'inboxId', q.inbox_id, 'messageType', q.message_type,
    'orderingKey', q.ordering_key, 'status', q.status, 'priority', q.priority, 'metadata', q.metadata)
  from queued q
  union all
  select 2, t.message_id, t.at, 'attempted', t.detail || jsonb_build_object(
    'id', t.message_id, 'queue', t.queue, 'attempt', t.attempt)
  from tried t
  union all
  -- The attempt that is under way or was the last one.
  select 2, q.id, q.processed_at, 'attempted', jsonb_build_object(
    'id', q.id, 'queue', q.queue, 'attempt', q.retry_count, 'workerId', q.worker_id,
    'lastError', q.last_error, 'deaths', q.deaths)
  from queued q
  where q.processed_at is not null and not exists (
    select from tried t where t.message_id = q.id and t.attempt = q.retry_count)
  union all
  select 3, q.id, q.scheduled_at, 'due', jsonb_build_object(
    'id', q.id, 'queue', q.queue, 'status', q.status)
  from queued q
  where q.status in ('scheduled', 'retrying')
  union all
  select 4, q.id, q.done_at, 'done', jsonb_build_object(
    'id', q.id, 'queue', q.queue, 'attempts', q.retry_count)
  from queued q
  where q.done_at is not null
  union all
  select 4, f.id, f.failed_at, 'dead_lettered', jsonb_build_object(
    'id', f.id, 'queue', f.queue, 'tenantId', f.tenant_id, 'inboxId', f.inbox_id,
    'messageType', f.message_type, 'originalMessageId', f.original_message_id,
    'error', f.error_message, 'attempts', f.failure_count, 'metadata', f.metadata)
  from chatsync.failed_messages f
  where f.correlation_id = p_correlation_id
$$;

-- Everything that is known of one webhook, in order: what queue_story() tells, the messages, conversations
-- and contacts that its events name as they are now, published, stamped.
-- The log is read through: an index by correlation took a quarter of stamp()'s speed. p_since spares it the
-- days before.
create or replace function chatsync.timeline(p_correlation_id text, p_since timestamptz default null)
returns table (at timestamptz, what text, detail jsonb)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
  with told as materialized (
    select * from chatsync.correlated_events(p_correlation_id, p_since)
  ),
  spoken as materialized (
    select m.*, t.at
    from (
      select tenant_id, message_id, min(created_at) as at from told group by tenant_id, message_id
    ) as t
    join chatsync.messages m on m.tenant_id = t.tenant_id and m.message_id = t.message_id
  ),
  held as materialized (
    select v.*, t.at
    from (
      select tenant_id, conversation_id, min(created_at) as at from told group by 1, 2
    ) as t
    join chatsync.conversations v
      on v.tenant_id = t.tenant_id and v.conversation_id = t.conversation_id
  )
  select s.at, s.what, s.detail
  from (
    select q.rank, q.id, q.at, q.what, q.detail from chatsync.queue_story(p_correlation_id, p_since) as q
    union all
    select 5, k.contact_id, min(k.at), 'contact', jsonb_build_object(
      'tenantId', k.tenant_id, 'id', k.contact_id, 'name', c.name, 'mergedInto', c.merged_into,
      'version', c.version, 'createdAt', c.created_at)
    from (
      select tenant_id, contact_id, at from spoken
      union all
      select tenant_id, contact_id, at from held
    ) as k
    join chatsync.contacts c on c.tenant_id = k.tenant_id and c.contact_id = k.contact_id
    group by k.tenant_id, k.contact_id, c.name, c.merged_into, c.version, c.created_at
    union all
    select 6, v.conversation_id, v.at, 'conversation', jsonb_build_object(
      'tenantId', v.tenant_id, 'id', v.conversation_id, 'inboxId', v.inbox_id, 'status', v.status,
      'contactId', v.contact_id, 'mergedInto', v.merged_into, 'version', v.version,
      'createdAt', v.created_at)
    from held v
    union all
    select 7, m.message_id, m.at, 'message', jsonb_build_object(
      'tenantId', m.tenant_id, 'id', m.message_id, 'conversationId', m.conversation_id,
      'direction', m.direction, 'type', m.type, 'status', m.status, 'origin', m.origin,
      'sentAt', m.sent_at, 'version', m.version, 'createdAt', m.created_at)
    from spoken m
    union all
    select 8, t.seq, t.created_at, 'published', jsonb_build_object(
      'tenantId', t.tenant_id, 'type', t.type, 'messageId', t.message_id,
      'conversationId', t.conversation_id)
    from told t
    union all
    select 9, t.seq, t.stamped_at, 'stamped', jsonb_build_object(
      'tenantId', t.tenant_id, 'type', t.type, 'seq', t.seq)
    from told t
    where t.seq is not null
  ) as s
  order by s.at, s.rank, s.id
$$;
comment on function chatsync.timeline is 'What is known of one webhook, by its correlation id, in order.';

grant execute on function chatsync.timeline(text, timestamptz) to chatsync_operator, chatsync_worker;

-- What operators see besides the views of the queue.

-- Called by `chatsync queue cancel --dry-run`: messages of the queue by their ids.
create or replace function chatsync.peek_messages(p_ids bigint[])
returns table (
  id bigint, queue text, tenant_id text, ordering_key text, message_type text, status text,
  retry_count integer, created_at timestamptz, correlation_id text, last_error text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select m.id, m.queue, m.tenant_id, m.ordering_key, m.message_type, m.status, m.retry_count,
    m.created_at, m.correlation_id, m.last_error
  from chatsync.message_queue m
  where m.id = any (p_ids)
  order by m.id
$$;

-- For operators, and called by `chatsync queue dead`: the newest dead letters of the given kind. The
-- filters are those of redrive().
create or replace function chatsync.dead_letters(
  p_queue text default null, p_tenant_id text default null, p_error_like text default null,
  p_since timestamptz default null, p_until timestamptz default null,
  p_correlation_id text default null, p_limit integer default 20
) returns table (
  id bigint, queue text, tenant_id text, inbox_id bigint, ordering_key text, message_type text,
  correlation_id text, failure_count integer, failed_at timestamptz, error_message text, bytes integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select f.id, f.queue, f.tenant_id, f.inbox_id, f.ordering_key, f.message_type, f.correlation_id,
    f.failure_count, f.failed_at, f.error_message, octet_length(f.payload)
  from chatsync.failed_messages f
  where (p_queue is null or f.queue = p_queue)
    and (p_tenant_id is null or f.tenant_id = p_tenant_id)
    and (p_error_like is null or f.error_message like p_error_like)
    and (p_since is null or f.failed_at >= p_since)
    and (p_until is null or f.failed_at < p_until)
    and (p_correlation_id is null or f.correlation_id = p_correlation_id)
  order by f.failed_at desc, f.id desc
  limit p_limit
$$;

-- Called by `chatsync queue watch`, twice for a rate: rows that came into the queue, that left it, and
-- that became dead letters since the statistics were reset. PostgreSQL counts up to a second late.
create or replace function chatsync.queue_totals(out enqueued bigint, out gone bigint, out dead bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select
    pg_stat_get_tuples_inserted('chatsync.message_queue'::regclass),
    pg_stat_get_tuples_deleted('chatsync.message_queue'::regclass),
    pg_stat_get_tuples_inserted('chatsync.failed_messages'::regclass)
$$;

-- For operators: for how long the oldest event has been waiting for its number; null where none waits.
create or replace function chatsync.oldest_unstamped() returns interval
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select chatsync.now() - min(created_at) from chatsync.outbox
$$;

grant execute on function
  chatsync.dead_letters(text, text, text, timestamptz, timestamptz, text, integer),
  chatsync.peek_messages(bigint[]),
  chatsync.queue_totals(),
  chatsync.oldest_unstamped()
to chatsync_operator, chatsync_worker;

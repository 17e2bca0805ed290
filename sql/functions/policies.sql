-- Policies of queues: what operators set, and what is done by them besides settling.

-- Sets what a queue does with failing, done and dead messages, and returns all of it; what is null stays as
-- it is. Raises check_violation for what cannot be.
create or replace function chatsync.set_policy(
  p_queue text, p_when_head_fails text default null,
  p_backoff_base_seconds double precision default null,
  p_backoff_cap_seconds double precision default null,
  p_archive_days integer default null, p_dead_letter_days integer default null
) returns chatsync.queue_policies
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy chatsync.queue_policies;
begin
  insert into chatsync.queue_policies (queue) values (p_queue) on conflict do nothing;
  update chatsync.queue_policies p
  set
    when_head_fails = coalesce(p_when_head_fails, p.when_head_fails),
    backoff_base_seconds = coalesce(p_backoff_base_seconds, p.backoff_base_seconds),
    backoff_cap_seconds = coalesce(p_backoff_cap_seconds, p.backoff_cap_seconds),
    archive_days = coalesce(p_archive_days, p.archive_days),
    dead_letter_days = coalesce(p_dead_letter_days, p.dead_letter_days)
  where p.queue = p_queue
  returning * into v_policy;
  return v_policy;
end
$$;
comment on function chatsync.set_policy is 'Sets what a queue does with failing, done and dead messages.';

-- Called by workers, hourly and again until less than p_limit went: one step, so that nothing is held up.
-- Deletes dead letters that are older than their queue keeps them, each queue's oldest first; returns how
-- many. Waits for nobody: those that are being redriven or purged at that moment stay out of it.
create or replace function chatsync.expire_dead_letters(p_limit integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids bigint[];
begin
  v_ids := array(
    -- From queue to queue by the index: nobody reads all dead letters to learn whose they are.
    with recursive queues as (
      (select queue from chatsync.failed_messages order by queue limit 1)
      union all
      select (
        select f.queue from chatsync.failed_messages f where f.queue > q.queue order by f.queue limit 1)
      from queues q
      where q.queue is not null
    )
    select e.id
    from queues q
    left join chatsync.queue_policies p on p.queue = q.queue
    cross join lateral (select coalesce(p.dead_letter_days, 90) as days) as k
    cross join lateral (
      select f.id
      from chatsync.failed_messages f
      where f.queue = q.queue and f.failed_at < chatsync.now() - make_interval(days => k.days)
      order by f.failed_at
      limit p_limit
      for update skip locked
    ) as e
    where k.days > 0
    limit p_limit);
  delete from chatsync.failed_messages f where f.id = any (v_ids);
  return cardinality(v_ids);
end
$$;

grant execute on function
  chatsync.set_policy(text, text, double precision, double precision, integer, integer)
to chatsync_operator, chatsync_worker;
grant execute on function chatsync.expire_dead_letters(integer) to chatsync_worker;

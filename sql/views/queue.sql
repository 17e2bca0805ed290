-- The queue as an operator looks at it. The counts read the whole queue: for people and for a scrape
-- every some seconds, not for a loop.

create or replace view chatsync.queue_depth with (security_invoker = true) as
with counted as (
  select
    m.queue,
    count(*) filter (where m.status = 'scheduled') as scheduled,
    count(*) filter (where m.status = 'pending') as pending,
    count(*) filter (where m.status = 'processing') as processing,
    count(*) filter (where m.status = 'retrying') as retrying,
    count(*) filter (where m.status = 'paused' or t.is_parked) as paused,
    -- A message that waits for its time is not late, however long ago it was made.
    min(least(greatest(m.created_at, m.scheduled_at), chatsync.now())) filter (
      where m.status <> 'processing'
        and (m.status = 'pending' or m.scheduled_at <= chatsync.now())
        and (t.turn is null or (t.lease_id is null and not t.is_parked and t.ready_at <= chatsync.now()))
    ) as claimable_since
  from chatsync.message_queue m
  -- Not by lane_key: what is scheduled has none yet, and will wait for its key all the same.
  left join chatsync.lane_turns t on t.lane = m.queue || '/' || m.tenant_id || '/' || m.ordering_key
  group by m.queue
),
died as (
  select f.queue, count(*) as dead from chatsync.failed_messages f group by f.queue
),
taken as (
  select t.queue, count(*) as lanes, count(*) filter (where t.lease_id is null) as free_lanes
  from chatsync.lane_turns t
  group by t.queue
)
select
  queue,
  coalesce(c.scheduled, 0) as scheduled,
  coalesce(c.pending, 0) as pending,
  coalesce(c.processing, 0) as processing,
  coalesce(c.retrying, 0) as retrying,
  coalesce(c.paused, 0) as paused,
  coalesce(d.dead, 0) as dead,
  chatsync.now() - c.claimable_since as oldest_claimable,
  coalesce(t.lanes, 0) as lanes,
  coalesce(t.free_lanes, 0) as free_lanes
from counted c
full join died d using (queue)
full join taken t using (queue);
comment on view chatsync.queue_depth is 'How much waits in each queue, and for how long.';
comment on column chatsync.queue_depth.dead is 'Dead letters of the queue.';
comment on column chatsync.queue_depth.oldest_claimable is
  'For how long the oldest message that could run now has been waiting for a worker; null where none is.';
comment on column chatsync.queue_depth.paused is 'Those that a claim met while they were paused, among the pending.';
comment on column chatsync.queue_depth.free_lanes is 'Lanes that no worker holds.';

create or replace view chatsync.queue_blocked with (security_invoker = true) as
select
  l.queue,
  l.tenant_id,
  l.inbox_id,
  l.ordering_key,
  h.id as head_id,
  h.status as head_status,
  case
    when t.turn is null then 'without a turn: the next sweep gives it one'
    when t.lease_id is not null then 'held by worker ' || t.worker_id || ' since '
      || coalesce(chatsync.wire_time(h.processed_at), 'just now')
    when t.is_parked then 'paused' || coalesce((
      select ': ' || string_agg(p.pause_reason, '; ' order by p.paused_at)
      from chatsync.queue_pauses p
      where p.queue = l.queue and (p.tenant_id is null or p.tenant_id = l.tenant_id)
        and (p.inbox_id is null or p.inbox_id = l.inbox_id)
        and (p.ordering_key is null or p.ordering_key = l.ordering_key)), '')
    when t.is_suspect then 'suspect: its worker died; claimed alone'
    when h.status = 'retrying'
      then 'retrying until ' || chatsync.wire_time(t.ready_at) || coalesce(': ' || h.last_error, '')
    else 'waiting until ' || chatsync.wire_time(t.ready_at)
  end as reason,
  case when t.lease_id is null then t.ready_at end as ready_at,
  w.waiting,
  h.retry_count,
  h.last_error
from chatsync.queue_lanes l
left join chatsync.lane_turns t on t.lane = l.lane
cross join lateral (
  select m.id, m.status, m.processed_at, m.retry_count, m.last_error
  from chatsync.message_queue m
  where m.lane_key = l.lane
  order by m.id
  limit 1
) as h
cross join lateral (
  select count(*) as waiting, count(*) filter (where m.status <> 'processing') as idle
  from chatsync.message_queue m
  where m.lane_key = l.lane
) as w
where w.idle > 0
  and (t.turn is null or t.lease_id is not null or t.is_suspect or t.is_parked
    or t.ready_at > chatsync.now());
comment on view chatsync.queue_blocked is
  'Lanes whose first message keeps others waiting: it is to be tried later, a worker has it, or it is suspect.';
comment on column chatsync.queue_blocked.ready_at is 'When the head may run; null while a worker has it.';
comment on column chatsync.queue_blocked.waiting is 'Messages of the lane, the head among them.';

create or replace view chatsync.queue_workers with (security_invoker = true) as
select
  w.worker_id,
  w.name,
  exists (
    select from pg_locks k
    -- CWRK, as worker_lock_class() has it: functions are made after views.
    where k.locktype = 'advisory' and k.classid = x'4357524b'::integer::oid
      and k.objid = w.worker_id::oid and k.objsubid = 2 and k.granted
      and k.database = (select d.oid from pg_database d where d.datname = current_database())
  ) as is_alive,
  w.lease_until,
  coalesce(m.messages, 0) as messages,
  m.oldest_claim
from chatsync.workers w
left join (
  select q.worker_id, count(*) as messages, min(q.processed_at) as oldest_claim
  from chatsync.message_queue q
  where q.lease_id is not null
  group by q.worker_id
) as m on m.worker_id = w.worker_id;
comment on view chatsync.queue_workers is 'Workers, and how much each of them holds.';
comment on column chatsync.queue_workers.is_alive is 'Its session is there: PostgreSQL holds its lock.';
comment on column chatsync.queue_workers.oldest_claim is 'Since when it has had what it took first.';

grant select on chatsync.queue_depth, chatsync.queue_blocked, chatsync.queue_workers
to chatsync_reader, chatsync_operator, chatsync_worker;

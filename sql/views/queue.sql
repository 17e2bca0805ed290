-- The queue as an operator looks at it. The counts read the whole queue: for people and for a scrape
-- every some seconds, not for a loop.

-- For functions that look a lease up, without sequential scans. Those with a key are found by the turns of
-- their lanes, since no index has their leases: a claim writes each message.
create or replace view chatsync.leased_messages with (security_invoker = true) as
select m.id, m.queue, m.tenant_id, m.inbox_id, m.lane_key, m.keyless_lease_id as lease_id, m.worker_id
from chatsync.message_queue m
where m.keyless_lease_id is not null
union all
select m.id, m.queue, m.tenant_id, m.inbox_id, m.lane_key, t.lease_id, m.worker_id
from chatsync.lane_turns t
cross join lateral (
  select q.id, q.queue, q.tenant_id, q.inbox_id, q.lane_key, q.worker_id
  from chatsync.message_queue q
  -- As one range: an equality and a bound on ids would do for the primary key as well. Who claimed before
  -- there were such ids has noted none.
  where q.lane_key is not null and (q.lane_key, q.id) >= (t.lane, coalesce(t.first_id, 0))
    and (q.lane_key, q.id) <= (t.lane, coalesce(t.last_id, 9223372036854775807))
    and q.lease_id = t.lease_id
  -- Lane by lane: as a join it might read all lanes.
  offset 0
) as m
where t.lease_id is not null;
comment on view chatsync.leased_messages is 'What workers hold.';

create or replace view chatsync.queue_depth with (security_invoker = true) as
with counted as (
  select
    m.queue,
    count(*) filter (where m.status = 'scheduled') as scheduled,
    count(*) filter (where m.status = 'pending') as pending,
    count(*) filter (where m.status = 'processing') as processing,
    count(*) filter (where m.status = 'retrying') as retrying,
    count(*) filter (
      where (m.status = 'paused' and m.parked_by is null) or (t.is_parked and t.parked_by is null)) as paused,
    count(*) filter (where coalesce(m.parked_by, t.parked_by) is not null) as limited,
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
  coalesce(t.free_lanes, 0) as free_lanes,
  coalesce(c.limited, 0) as limited
from counted c
full join died d using (queue)
full join taken t using (queue);
comment on view chatsync.queue_depth is 'How much waits in each queue, and for how long.';
comment on column chatsync.queue_depth.dead is 'Dead letters of the queue.';
comment on column chatsync.queue_depth.oldest_claimable is
  'For how long the oldest message that could run now has been waiting for a worker; null where none is.';
comment on column chatsync.queue_depth.paused is 'Those that a claim met while they were paused, among the pending.';
comment on column chatsync.queue_depth.limited is
  'Those that a claim met while a limit had no room for them, among the pending.';
comment on column chatsync.queue_depth.free_lanes is 'Lanes that no worker holds.';

create or replace view chatsync.queue_limit_use with (security_invoker = true) as
select
  l.limit_id,
  l.queue,
  l.kind,
  l.per,
  l.tenant_id,
  l.inbox_id,
  l.amount,
  make_interval(secs => l.per_seconds) as every,
  l.burst,
  case l.kind when 'in_flight' then coalesce(f.messages, 0) when 'depth' then l.waiting end as used,
  coalesce(b.crowded, 0) as crowded,
  coalesce(p.lanes, 0) as lanes,
  coalesce(p.messages, 0) as messages,
  case l.kind
    when 'in_flight' then l.amount || ' at once'
    when 'depth' then l.amount || ' waiting'
    else l.amount || ' in ' || case
      when l.per_seconds >= 86400 and l.per_seconds::numeric % 86400 = 0 then l.per_seconds / 86400 || ' d'
      when l.per_seconds >= 3600 and l.per_seconds::numeric % 3600 = 0 then l.per_seconds / 3600 || ' h'
      when l.per_seconds >= 60 and l.per_seconds::numeric % 60 = 0 then l.per_seconds / 60 || ' min'
      else l.per_seconds || ' s'
    end
  end as meaning
from chatsync.queue_limits l
-- The fullest of what it counts apart, without those for whom there is a narrower limit.
left join lateral (
  select max(n.messages) as messages
  from (
    select count(*) as messages
    from chatsync.message_queue m
    where l.kind = 'in_flight' and m.queue = l.queue and m.lease_id is not null
      and (l.tenant_id is null or l.tenant_id = m.tenant_id)
      and (l.inbox_id is null or l.inbox_id = m.inbox_id)
      and not exists (
        select
        from chatsync.queue_limits x
        where (x.queue, x.kind, x.per) = (l.queue, l.kind, l.per)
          and (x.tenant_id is null or x.tenant_id = m.tenant_id)
          and (x.inbox_id is null or x.inbox_id = m.inbox_id)
          and (l.inbox_id is null and x.inbox_id is not null
            or l.inbox_id is not distinct from x.inbox_id
              and l.tenant_id is null and x.tenant_id is not null))
    group by case l.per when 'tenant' then m.tenant_id when 'inbox' then m.inbox_id::text end
  ) as n
) as f on true
left join lateral (
  select count(*) as crowded
  from chatsync.limit_buckets k
  where k.queue = l.queue and k.is_crowded and k.limit_id = l.limit_id
) as b on true
left join lateral (
  select
    sum((select count(*) from chatsync.lane_turns t
      where t.queue = l.queue and t.is_parked and t.parked_by = k.bucket))::bigint as lanes,
    sum((select count(*) from chatsync.message_queue m
      where m.queue = l.queue and m.status = 'paused' and m.parked_by = k.bucket))::bigint as messages
  from chatsync.limit_buckets k
  where k.queue = l.queue and k.is_crowded and k.limit_id = l.limit_id
) as p on true;
comment on view chatsync.queue_limit_use is 'Limits of queues, and how much of them is used.';
comment on column chatsync.queue_limit_use.meaning is 'The limit in words.';
comment on column chatsync.queue_limit_use.used is
  'Messages in flight, of the tenant or inbox that has most; of a depth: messages, counted a second ago.';
comment on column chatsync.queue_limit_use.crowded is 'Tenants, inboxes or keys of which more waits for room.';
comment on column chatsync.queue_limit_use.lanes is 'Ordering keys that wait for room.';
comment on column chatsync.queue_limit_use.messages is 'Messages without a key that wait for room.';

create or replace view chatsync.queue_blocked with (security_invoker = true) as
with limited as (
  select k.queue, k.bucket, u.meaning
  from chatsync.limit_buckets k
  join chatsync.queue_limit_use u on u.limit_id = k.limit_id
)
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
    when t.parked_by is not null
      then 'waits for room: ' || t.parked_by || coalesce(' (' || r.meaning || ')', '')
    when t.is_parked then 'paused' || coalesce((
      select ': ' || string_agg(p.pause_reason, '; ' order by p.paused_at)
      from chatsync.queue_pauses p
      where p.queue = l.queue and (p.tenant_id is null or p.tenant_id = l.tenant_id)
        and (p.inbox_id is null or p.inbox_id = l.inbox_id)
        and (p.ordering_key is null or p.ordering_key = l.ordering_key)), '')
    when t.is_suspect then 'suspect: its worker died; claimed alone'
    when t.is_waiting and h.status = 'pending' and r.meaning is not null
      then 'its rate: ' || r.meaning || ', until ' || chatsync.wire_time(t.ready_at)
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
left join limited r on r.queue = l.queue and r.bucket = coalesce(t.parked_by, 'rate/key/' || l.lane)
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
  'Lanes that do not run: their first message is to be tried later, a worker has it, it is paused or suspect, or a limit has no room.';
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

grant select on
  chatsync.queue_depth, chatsync.queue_blocked, chatsync.queue_workers, chatsync.queue_limit_use
to chatsync_reader, chatsync_operator, chatsync_worker;
grant select on chatsync.leased_messages to chatsync_worker;

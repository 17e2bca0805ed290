-- The log: publish, stamp, read.

-- Called by anyone inside a transaction of their own: the event is numbered after the commit.
create or replace function chatsync.publish(
  p_tenant_id text, p_topics text[], p_type text, p_data jsonb, p_correlation_id text default null
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from chatsync.tenants where tenant_id = p_tenant_id) then
    raise exception 'unknown tenant %', p_tenant_id using errcode = 'foreign_key_violation';
  end if;
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  values (p_tenant_id, p_topics, p_type, p_data, p_correlation_id);
end
$$;

create or replace function chatsync.stamping_lock() returns bigint
language sql immutable parallel safe
return x'63735f7374616d70'::bigint;

-- Called under the stamping lock. A cluster with another identity or timeline than the one that
-- stamped last is a restored copy or a promoted standby: cursors given out before may be ahead of it.
create or replace function chatsync.open_epochs_if_moved() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_system bigint := (select system_identifier from pg_control_system());
  -- The control file's timeline lags after a promotion; the insert position's does not.
  v_timeline text := substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
begin
  if exists (
    select from chatsync.cluster_identity where system_identifier = v_system and timeline = v_timeline
  ) then
    return;
  end if;
  if exists (select from chatsync.cluster_identity) then
    update chatsync.streams set epoch = replace(gen_random_uuid()::text, '-', '');
  end if;
  insert into chatsync.cluster_identity (system_identifier, timeline) values (v_system, v_timeline)
  on conflict (is_singleton) do update
  set system_identifier = excluded.system_identifier, timeline = excluded.timeline;
end
$$;

-- Called by stamp_for() under the stamping lock, of tenants of which one has no head. A tenant has its
-- stream from its beginning; what was made by hand may lack one, or its head alone.
create or replace function chatsync.begin_streams(p_tenants text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into chatsync.streams (tenant_id)
  select t.tenant_id from unnest(p_tenants) as t (tenant_id)
  on conflict (tenant_id) do nothing;
  -- A new statement: it sees the head of whoever made the stream meanwhile.
  insert into chatsync.stream_heads (tenant_id, head)
  select s.tenant_id, s.trimmed_to
  from chatsync.streams s
  where s.tenant_id = any (p_tenants)
    and (
      select e.head from chatsync.stream_heads e where e.tenant_id = s.tenant_id
      order by e.head desc limit 1) is null;
end
$$;

-- Called by stamp() and stamp_and_follow(). Of the tenants in p_followed (ids with commas) p_events are the
-- new events, for who would read them next; a tenant that got many, or large ones, is left out. Each is an
-- array: tenant, epoch, seq, topics as JSON, type, data, correlation id, created_at, stamped_at (ISO 8601).
create or replace function chatsync.stamp_for(
  p_limit integer, p_followed text, out p_heads jsonb, out p_events text[]
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set jit = off
-- A backlog is read from its beginning by the index, not as a whole.
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_low bigint;
  v_is_fresh boolean;
  v_ids bigint[];
  v_tenants text[];
  v_places tid[];
  v_has_moved boolean;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'stamping needs READ COMMITTED, not %', current_setting('transaction_isolation')
      using errcode = 'CS003';
  end if;
  if not pg_try_advisory_xact_lock(chatsync.stamping_lock()) then
    return;
  end if;
  perform chatsync.open_epochs_if_moved();
  -- One that was raised a moment ago stays as it is. Looked at here, since the two calls are an eighth of
  -- a stamp of one event.
  select w.low, w.raised_at > clock_timestamp() - interval '20 ms' into v_low, v_is_fresh
  from chatsync.low_waters w where w.name = 'outbox' order by w.low_water_id desc limit 1;
  if v_is_fresh is not true then
    perform chatsync.raise_low_water('outbox');
    v_low := chatsync.low_water('outbox');
  end if;
  -- A new statement: its snapshot sees what the last holder of the lock committed.
  select array_agg(o.id), array_agg(distinct o.tenant_id) into v_ids, v_tenants
  from (select id, tenant_id from chatsync.outbox where id >= v_low order by id limit p_limit) as o;
  if v_ids is null then
    p_heads := '{}';
    return;
  end if;
  loop
    -- The newest row of a tenant is met first, and those that were replaced are not walked over.
    select array_agg(t.tenant_id), array_agg(h.place) into v_tenants, v_places
    from unnest(v_tenants) as t (tenant_id)
    left join lateral (
      select e.ctid as place
      from chatsync.stream_heads e
      where e.tenant_id = t.tenant_id
      order by e.head desc
      limit 1
    ) as h on true;
    exit when array_position(v_places, null) is null;
    perform chatsync.begin_streams(v_tenants);
  end loop;
  with taken as (
    delete from chatsync.outbox where id = any (v_ids)
    returning *
  ),
  counted as (
    select tenant_id, count(*) as events, sum(pg_column_size(data)) as bytes from taken group by tenant_id
  ),
  raised as (
    -- Each look sees one head of a tenant: who stamps holds the lock, and replaces a row by one. It is found
    -- by its place: joined by their key, the heads of all tenants might be read.
    update chatsync.stream_heads h set head = h.head + c.events
    from counted c
    join unnest(v_tenants, v_places) as p (tenant_id, place) on p.tenant_id = c.tenant_id
    where h.ctid = p.place
    returning h.tenant_id, h.head, h.head - c.events as previous_head, c.events, c.bytes
  ),
  stamped as (
    insert into chatsync.event_log (
      tenant_id, seq, topics, type, data, correlation_id, created_at, stamped_at)
    select t.tenant_id,
      r.previous_head + row_number() over (partition by t.tenant_id order by t.id),
      t.topics, t.type, t.data, t.correlation_id, t.created_at, statement_timestamp()
    from taken t
    join raised r on r.tenant_id = t.tenant_id
    returning *
  ),
  followed as (
    select r.tenant_id, s.epoch
    from raised r
    cross join lateral (
      select s.epoch from chatsync.streams s where s.tenant_id = r.tenant_id limit 1
    ) as s
    where r.tenant_id = any (string_to_array(p_followed, ',')) and r.events <= 200 and r.bytes <= 65536
  ),
  told as (
    select s.tenant_id, s.seq, array[
      s.tenant_id, f.epoch, s.seq::text, to_json(s.topics)::text, s.type, s.data::text,
      s.correlation_id, to_json(s.created_at)#>>'{}', to_json(s.stamped_at)#>>'{}'] as event
    from stamped s
    join followed f on f.tenant_id = s.tenant_id
  )
  select
    coalesce((select jsonb_object_agg(tenant_id, head) from raised), '{}'),
    (select array_agg(event order by tenant_id, seq) from told),
    (select count(*) from counted) > (select count(*) from raised)
  into p_heads, p_events, v_has_moved;
  if v_has_moved then
    raise exception 'a head was moved by somebody without the stamping lock'
      using errcode = 'serialization_failure';
  end if;
end
$$;

-- Called by any process after its commits, in autocommit. Numbers up to p_limit committed events and
-- returns {tenant: head} of the logs that grew, or null when another process holds the lock.
-- The caller then looks at outbox_waiting() in a new statement and calls again while it finds a row:
-- an event that was committed while the lock was held is otherwise left behind.
create or replace function chatsync.stamp(p_limit integer default 1000) returns jsonb
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return (chatsync.stamp_for(p_limit, null)).p_heads;
end
$$;

-- Whether an event waits for its number; asked without the lock.
create or replace function chatsync.outbox_waiting() returns boolean
language sql stable security definer
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
  select exists (select from chatsync.outbox where id >= (select chatsync.low_water('outbox')))
$$;

-- Called by stream_positions(). The newest head of a tenant is met first, and those that were replaced are
-- not walked over. With the owner's rights: the policy of a gateway that names a thousand tenants would be
-- gone through for each of them. It tells numbers, which stamp() tells of all as well.
create or replace function chatsync.heads_of(p_tenant_ids text[])
returns table (tenant_id text, head bigint)
language sql stable security definer
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_bitmapscan = off
as $$
  select t.tenant_id, h.head
  from (select distinct unnest(p_tenant_ids) as tenant_id) as t
  cross join lateral (
    select e.head
    from chatsync.stream_heads e
    where e.tenant_id = t.tenant_id
    order by e.head desc
    limit 1
  ) as h
$$;

-- Where the logs of some tenants begin and end; a tenant without events has none yet. All who read a head
-- read it here.
create or replace function chatsync.stream_positions(p_tenant_ids text[])
returns table (tenant_id text, epoch text, head bigint, trimmed_to bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select s.tenant_id, s.epoch, coalesce(h.head, s.trimmed_to), s.trimmed_to
  from chatsync.streams s
  left join chatsync.heads_of(p_tenant_ids) as h on h.tenant_id = s.tenant_id
  where s.tenant_id = any (p_tenant_ids)
$$;

-- The next p_limit events of each tenant after its position, in order: one query for all that moved.
-- The epoch comes from the same snapshot: numbers of two lives of a log must not be joined.
create or replace function chatsync.read_events(p_tenant_ids text[], p_after bigint[], p_limit integer)
returns table (
  tenant_id text, epoch text, seq bigint, topics text[], type text, data text, correlation_id text,
  created_at timestamptz, stamped_at timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select w.tenant_id, s.epoch, e.seq, e.topics, e.type, e.data::text, e.correlation_id,
    e.created_at, e.stamped_at
  from unnest(p_tenant_ids, p_after) as w (tenant_id, after)
  join chatsync.streams s on s.tenant_id = w.tenant_id
  cross join lateral (
    select *
    from chatsync.event_log l
    where l.tenant_id = w.tenant_id and l.seq > w.after
    order by l.seq
    limit p_limit
  ) as e
  order by w.tenant_id, e.seq
$$;

-- read_events() of a gateway, which must name the tenants that it reads of; in one statement, so that
-- no transaction waits for the network.
create or replace function chatsync.follow_events(p_tenant_ids text[], p_after bigint[], p_limit integer)
returns table (
  tenant_id text, epoch text, seq bigint, topics text[], type text, data text, correlation_id text,
  created_at timestamptz, stamped_at timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
begin
  perform set_config('chatsync.tenants', array_to_string(p_tenant_ids, ','), true);
  return query select * from chatsync.read_events(p_tenant_ids, p_after, p_limit);
end
$$;

grant execute on function chatsync.publish(text, text[], text, jsonb, text) to chatsync_worker;
grant execute on function
  chatsync.stamp(integer),
  chatsync.stamp_for(integer, text),
  chatsync.outbox_waiting(),
  chatsync.heads_of(text[]),
  chatsync.stream_positions(text[]),
  chatsync.read_events(text[], bigint[], integer),
  chatsync.follow_events(text[], bigint[], integer)
to chatsync_worker, chatsync_gateway;

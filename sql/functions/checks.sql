-- What doctor() looks at in detail. PostgreSQL shows a role when the transactions of others began only
-- where it has pg_read_all_stats; what cannot be seen is said, and judged by its age in transactions.

-- For operators, and called by check_vacuum(): what keeps vacuum from removing dead rows here, the
-- oldest first. began_at is null where nobody may know it.
create or replace function chatsync.vacuum_pins()
returns table (kind text, name text, transactions integer, began_at timestamptz, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select * from (
    select
      -- A replica that tells what its queries need is of no database.
      case when datname is null then 'standby' else 'session' end as kind,
      'pid ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') as name,
      -- A transaction that wrote holds back what is newer than itself, whatever its snapshot.
      greatest(age(backend_xid), age(backend_xmin)) as transactions,
      xact_start as began_at,
      coalesce(state, 'state not visible to ' || current_user) as detail
    from pg_stat_activity
    -- What has no user is PostgreSQL's own, and pins nothing; its type is not visible to all.
    where (datname = current_database() or datname is null) and usesysid is not null
      and pid <> pg_backend_pid() and (backend_xid is not null or backend_xmin is not null)
    union all
    select 'prepared transaction', gid, age(transaction), prepared, 'of ' || owner
    from pg_prepared_xacts
    where database = current_database()
    union all
    select 'replication slot', slot_name, greatest(age(xmin), age(catalog_xmin)), null,
      case when active then 'in use' else 'not in use' end
        || case when xmin is null then ', pins the catalogs alone' else '' end
    from pg_replication_slots
    where xmin is not null or catalog_xmin is not null
  ) as pins
  order by transactions desc
$$;

-- Called by doctor(): transactions that stay open, what they pin, and whether vacuum keeps up.
create or replace function chatsync.check_vacuum()
returns table ("check" text, is_ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with pins as materialized (
    select *, coalesce(began_at < chatsync.now() - interval '5 minutes', transactions > 100000) as is_old
    from chatsync.vacuum_pins()
  ),
  sessions as materialized (
    select pid, application_name, backend_type is not null as is_visible, state,
      chatsync.now() - xact_start as duration
    from pg_stat_activity
    where datname = current_database() and usesysid is not null and pid <> pg_backend_pid()
  ),
  tables as (
    select s.relname, s.n_dead_tup,
      coalesce(o.threshold, current_setting('autovacuum_vacuum_threshold')::double precision)
        + coalesce(o.scale, current_setting('autovacuum_vacuum_scale_factor')::double precision)
          * greatest(c.reltuples, 0) as threshold,
      -- A table that was just made, or whose server was just started, has waited for nobody yet.
      greatest(s.last_vacuum, s.last_autovacuum, pg_postmaster_start_time(),
        (select min(applied_at) from chatsync.schema_ledger)) as waits_since
    from pg_stat_user_tables s
    join pg_class c on c.oid = s.relid
    cross join lateral (
      select
        max(option_value) filter (
          where option_name = 'autovacuum_vacuum_threshold')::double precision as threshold,
        max(option_value) filter (
          where option_name = 'autovacuum_vacuum_scale_factor')::double precision as scale
      from pg_options_to_table(c.reloptions)
    ) as o
    where s.schemaname = 'chatsync'
  ),
  late as (
    select * from tables
    where n_dead_tup > 2 * threshold and waits_since < chatsync.now() - interval '5 minutes'
  )
  select 'what pins vacuum', not exists (select from pins where is_old), coalesce((
    select kind || ' ' || name || ', ' || transactions || ' transactions old'
      || coalesce(', since ' || date_trunc('second', began_at)::text, '') || ', ' || detail
      || coalesce((
        select '; and ' || count(*) - 1 || ' more: chatsync.vacuum_pins()' from pins having count(*) > 1), '')
    from pins
    order by is_old desc, transactions desc
    limit 1), 'nothing')
  union all
  select 'long transactions', not exists (select from sessions where duration > interval '5 minutes'),
    coalesce((
      select string_agg(
        'pid ' || pid || coalesce(' (' || nullif(application_name, '') || ')', '') || ', ' || state
          || ', for ' || date_trunc('second', duration)::text, '; ' order by duration desc)
      from sessions where duration > interval '5 minutes'), 'none longer than 5 minutes')
    || coalesce((
      select '; ' || count(*) || ' sessions of other roles are not visible: grant pg_read_all_stats to '
        || current_user
      from sessions where not is_visible having count(*) > 0), '')
  union all
  select 'autovacuum', current_setting('autovacuum') = 'on' and not exists (select from late),
    case when current_setting('autovacuum') = 'on' then '' else 'autovacuum is off; ' end
    || coalesce((
      select string_agg(
        relname || ' has ' || n_dead_tup || ' dead rows, is due at ' || round(threshold)
          || ' and was not vacuumed since ' || date_trunc('second', waits_since)::text,
        '; ' order by n_dead_tup desc)
      from late),
      (select 'keeps up; most dead rows: ' || n_dead_tup || ' in ' || relname
        from tables order by n_dead_tup desc, relname limit 1))
$$;

-- Called by doctor(): indexes that do not serve, and, for information, those that nobody used.
create or replace function chatsync.check_indexes()
returns table ("check" text, is_ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with indexes as materialized (
    select c.relname, i.indisvalid and i.indisready as is_valid, c.relkind = 'i' and not c.relispartition
        and not i.indisunique and pg_stat_get_numscans(c.oid) = 0 as is_unused
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'chatsync'::regnamespace
  )
  select 'indexes are valid', bool_and(is_valid), coalesce(
    string_agg(relname, ', ' order by relname) filter (where not is_valid) || ': drop and make anew',
    'all ' || count(*))
  from indexes
  union all
  select 'indexes are used', true, case
    when (select min(applied_at) from chatsync.schema_ledger) > chatsync.now() - interval '1 day'
      then 'too early to tell'
    else coalesce(
      'not by any query yet, for information: ' || string_agg(relname, ', ' order by relname),
      'each of them')
    end
  from indexes
  where is_unused
$$;

grant execute on function
  chatsync.vacuum_pins(),
  chatsync.check_vacuum(),
  chatsync.check_indexes()
to chatsync_worker, chatsync_gateway, chatsync_operator;
-- Since when this schema stands here.
grant select on chatsync.schema_ledger to chatsync_operator;

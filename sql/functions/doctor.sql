-- Called by doctor(), and by `chatsync doctor --setup` as a health check: how the database is set up,
-- which no load and no forgotten session changes.
create or replace function chatsync.check_setup()
returns table ("check" text, is_ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  values
    ('server version', current_setting('server_version_num')::integer >= 150000,
      'PostgreSQL ' || current_setting('server_version') || '; 15 is the oldest supported'),
    ('durable commits',
      current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on'
        and current_setting('synchronous_commit') <> 'off',
      'fsync ' || current_setting('fsync') || ', full_page_writes '
        || current_setting('full_page_writes') || ', synchronous_commit '
        || current_setting('synchronous_commit')),
    ('encoding', current_setting('server_encoding') = 'UTF8', current_setting('server_encoding')),
    ('owner has no privileges',
      (select not (rolsuper or rolbypassrls or rolcanlogin) from pg_roles
        where rolname = 'chatsync_owner'),
      'chatsync_owner must not be a superuser, bypass row-level security or log in'),
    ('row-level security',
      not exists (
        select from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
        where c.relnamespace = 'chatsync'::regnamespace and c.relkind in ('r', 'p')
          and not c.relispartition and not (c.relrowsecurity and c.relforcerowsecurity)),
      'forced on every table with a tenant'),
    ('days of the log', to_regclass(
        'chatsync.event_log_' || to_char((chatsync.now() at time zone 'UTC')::date + 3, 'YYYYMMDD')) is not null,
      'partitions exist for the next three days')
$$;

-- What may be wrong with this database: one row a check, for `chatsync doctor` and for psql.
create or replace function chatsync.doctor()
returns table ("check" text, is_ok boolean, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select * from chatsync.check_setup()
  union all
  select 'notifications', pg_notification_queue_usage() < 0.01,
    'the queue of NOTIFY is ' || round((pg_notification_queue_usage() * 100)::numeric, 2) || ' % full'
  union all
  select * from chatsync.check_vacuum()
  union all
  select * from chatsync.check_indexes()
$$;

grant execute on function chatsync.check_setup(), chatsync.doctor()
to chatsync_worker, chatsync_gateway, chatsync_operator;

-- What gateways say of themselves, and what GET /api/stats answers from it.

-- Called by each gateway process every few seconds: keeps its figures, or forgets them where p_stats is
-- null. Takes a few of the dead with it, so that nobody has to sweep.
create or replace function chatsync.report_gateway(p_node text, p_stats jsonb) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from chatsync.gateway_stats
  where node = any (array(
    select g.node
    from chatsync.gateway_stats g
    where g.at < chatsync.now() - interval '5 minutes'
      or (g.node = p_node and p_stats is null)
    limit 20
    for update skip locked));
  if p_stats is not null then
    insert into chatsync.gateway_stats as g (node, stats, at)
    values (p_node, p_stats, chatsync.now())
    on conflict (node) do update set stats = excluded.stats, at = excluded.at;
  end if;
end
$$;

-- Called for GET /api/stats: what the other gateway processes said within p_seconds. Names all tenants: the
-- caller tells nobody of more than he may know.
create or replace function chatsync.other_gateways(p_node text, p_seconds double precision)
returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(g.stats), '[]')
  from chatsync.gateway_stats g
  where g.node <> p_node and g.at > chatsync.now() - make_interval(secs => p_seconds)
$$;

-- Called for GET /api/stats: how many messages of a tenant, or of all, are in which status, and how many
-- are dead letters. Reads the whole queue.
create or replace function chatsync.queue_figures(p_tenant_id text) returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'scheduled', count(*) filter (where m.status = 'scheduled'),
    'pending', count(*) filter (where m.status = 'pending'),
    'processing', count(*) filter (where m.status = 'processing'),
    'retrying', count(*) filter (where m.status = 'retrying'),
    'paused', count(*) filter (where m.status = 'paused'),
    'dead', (
      select count(*)
      from chatsync.failed_messages f
      where p_tenant_id is null or f.tenant_id = p_tenant_id))
  from chatsync.message_queue m
  where p_tenant_id is null or m.tenant_id = p_tenant_id
$$;

grant execute on function
  chatsync.report_gateway(text, jsonb),
  chatsync.other_gateways(text, double precision),
  chatsync.queue_figures(text)
to chatsync_gateway;

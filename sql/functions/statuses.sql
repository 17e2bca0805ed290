-- Statuses of our messages: they only climb, whatever the order and the number of their arrivals.

-- Called by apply_inbound(). Raises messages to the highest status that the items know of; parks what
-- finds no message. A message of ours that is seen again reports its status, too.
-- Lock order: messages by id. Returns the messages that changed.
create or replace function chatsync.apply_statuses(
  p_items chatsync.inbound_item[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  with reported as materialized (
    select i.*, k.message_id
    from unnest(p_items) as i
    left join lateral (
      select k.message_id
      from chatsync.message_provider_ids k
      where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
        and k.provider_message_id = i.provider_message_id
      limit 1
    ) as k on true
    where i.status is not null
  ),
  parked as (
    insert into chatsync.orphans (tenant_id, inbox_id, provider_message_id, item_key, item)
    select r.tenant_id, r.inbox_id, r.provider_message_id, 'status:' || r.status,
      to_jsonb(r) - 'message_id'
    from reported r
    where r.message_id is null
    order by 1, 2, 3, 4
    on conflict do nothing
  ),
  highest as materialized (
    select distinct on (r.tenant_id, r.message_id) r.*
    from reported r
    where r.message_id is not null
    order by r.tenant_id, r.message_id, chatsync.status_rank(r.status) desc, r.position
  ),
  locked as materialized (
    select h.tenant_id, h.message_id, h.status, h.error, h.correlation_id
    from (select * from highest order by message_id) as h
    cross join lateral (
      select true
      from chatsync.messages m
      where m.tenant_id = h.tenant_id and m.message_id = h.message_id and m.direction = 'OUTBOUND'
        and chatsync.status_rank(h.status) > chatsync.status_rank(m.status)
      limit 1
      for no key update
    ) as m
  ),
  climbed as (
    update chatsync.messages m
    set status = l.status, error = case l.status when 'FAILED' then l.error end,
      version = m.version + 1
    from locked l
    where m.tenant_id = l.tenant_id and m.message_id = l.message_id
      and chatsync.status_rank(l.status) > chatsync.status_rank(m.status)
    returning m.tenant_id, m.message_id, l.correlation_id
  )
  select array_agg(c.tenant_id order by c.message_id), array_agg(c.message_id order by c.message_id),
    array_agg(c.correlation_id order by c.message_id)
  into tenant_ids, message_ids, correlation_ids
  from climbed c;
end
$$;

grant execute on function chatsync.apply_statuses(chatsync.inbound_item[]) to chatsync_worker;

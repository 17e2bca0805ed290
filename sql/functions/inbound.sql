-- What providers sent becomes contacts, conversations, messages and events, in one transaction with
-- the settlement of its delivery.

-- Called by apply_inbound(). Holds the advisory bucket of each provider id that is looked up or
-- learned: of a status that finds no message and a sender that finds no status, one waits for the
-- other. Lock order: buckets by number, before any row.
create or replace function chatsync.hold_provider_ids(p_items chatsync.inbound_item[]) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  select pg_advisory_xact_lock(b.bucket)
  from (
    select distinct
      x'6300000000000000'::bigint + i.inbox_id * 256 + (hashtext(i.provider_message_id) & 255) as bucket
    from unnest(p_items) as i
    where i.kind = 'status' or i.direction = 'OUTBOUND'
    order by 1
  ) as b
$$;

-- Called by apply_inbound(). The open conversation of each (inbox, contact), made where missing and
-- locked. Lock order: conversations by id.
create or replace function chatsync.hold_conversations(
  p_tenant_ids text[], p_inbox_ids bigint[], p_contact_ids bigint[]
) returns table (tenant_id text, inbox_id bigint, contact_id bigint, conversation_id bigint, is_new boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_wanted integer;
  v_made bigint[];
  v_all_made bigint[] := '{}';
  v_held bigint[];
begin
  select count(*) into v_wanted
  from (
    select distinct * from unnest(p_tenant_ids, p_inbox_ids, p_contact_ids)
  ) as w;
  -- One that was open may be resolved while we wait for its lock: only those that are locked count.
  loop
    with made as (
      insert into chatsync.conversations (tenant_id, inbox_id, contact_id)
      select distinct w.tenant_id, w.inbox_id, w.contact_id
      from unnest(p_tenant_ids, p_inbox_ids, p_contact_ids) as w (tenant_id, inbox_id, contact_id)
      where not exists (
        select from chatsync.conversations v
        where v.tenant_id = w.tenant_id and v.inbox_id = w.inbox_id and v.contact_id = w.contact_id
          and v.status <> 'RESOLVED')
      order by 1, 2, 3
      on conflict (tenant_id, inbox_id, contact_id) where status <> 'RESOLVED' do nothing
      returning conversation_id
    )
    select coalesce(array_agg(conversation_id), '{}') into v_made from made;
    v_all_made := v_all_made || v_made;
    select array_agg(l.conversation_id) into v_held
    from (
      select v.conversation_id
      from chatsync.conversations v
      where (v.tenant_id, v.inbox_id, v.contact_id) in (
          select * from unnest(p_tenant_ids, p_inbox_ids, p_contact_ids))
        and v.status <> 'RESOLVED'
      order by v.conversation_id
      for no key update
    ) as l;
    exit when cardinality(v_held) = v_wanted;
  end loop;
  return query
  select v.tenant_id, v.inbox_id, v.contact_id, v.conversation_id, v.conversation_id = any (v_all_made)
  from chatsync.conversations v
  where v.conversation_id = any (v_held)
    and v.tenant_id = any (p_tenant_ids);
end
$$;

-- Called by apply_inbound(). Stores the messages that are new and returns them in order.
-- Uniqueness is the primary key of message_provider_ids, whatever the queue delivered twice.
create or replace function chatsync.store_messages(p_items chatsync.inbound_item[], p_contacts jsonb)
returns table (
  tenant_id text, message_id bigint, conversation_id bigint, is_new_conversation boolean,
  correlation_id text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  return query
  with wanted as (
    select distinct on (i.tenant_id, i.inbox_id, i.provider_message_id)
      i.*, (p_contacts ->> i.contact_key::text)::bigint as contact_id
    from unnest(p_items) as i
    where i.kind = 'message' and not exists (
      select from chatsync.message_provider_ids k
      where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
        and k.provider_message_id = i.provider_message_id)
    order by i.tenant_id, i.inbox_id, i.provider_message_id, i.position
  ),
  held as materialized (
    select h.*
    from (
      select array_agg(w.tenant_id) as tenant_ids, array_agg(w.inbox_id) as inbox_ids,
        array_agg(w.contact_id) as contact_ids
      from wanted w
    ) as w
    cross join lateral chatsync.hold_conversations(w.tenant_ids, w.inbox_ids, w.contact_ids) as h
    where w.tenant_ids is not null
  ),
  numbered as materialized (
    select w.*, h.conversation_id, h.is_new,
      nextval('chatsync.messages_message_id_seq') as message_id
    from wanted w
    join held h
      on h.tenant_id = w.tenant_id and h.inbox_id = w.inbox_id and h.contact_id = w.contact_id
    order by w.position
  ),
  learned as (
    insert into chatsync.message_provider_ids (tenant_id, inbox_id, provider_message_id, message_id)
    select n.tenant_id, n.inbox_id, n.provider_message_id, n.message_id
    from numbered n
    order by n.tenant_id, n.inbox_id, n.provider_message_id
    on conflict do nothing
    returning message_id
  ),
  stored as (
    insert into chatsync.messages (
      tenant_id, message_id, conversation_id, inbox_id, contact_id, provider_message_id, direction,
      type, content, metadata, status, origin, sent_at, position, reply_to)
    select n.tenant_id, n.message_id, n.conversation_id, n.inbox_id, n.contact_id,
      n.provider_message_id, n.direction, n.type, n.content, n.metadata,
      coalesce(n.status, case n.direction when 'INBOUND' then 'DELIVERED' else 'SENT' end),
      n.origin, n.occurred_at, n.message_id, r.message_id
    from numbered n
    join learned l on l.message_id = n.message_id
    left join chatsync.message_provider_ids r
      on r.tenant_id = n.tenant_id and r.inbox_id = n.inbox_id and r.provider_message_id = n.reply_to
    returning tenant_id, message_id, conversation_id
  )
  select s.tenant_id, s.message_id, s.conversation_id, n.is_new, n.correlation_id
  from stored s
  join numbered n on n.message_id = s.message_id
  order by s.message_id;
end
$$;

-- Called by apply_inbound(). Raises messages to the highest status that is known of them, from the
-- batch and from what waited for a message of it; parks what finds no message.
-- Lock order: messages by id.
create or replace function chatsync.apply_statuses(p_items chatsync.inbound_item[])
returns table (tenant_id text, message_id bigint, correlation_id text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  insert into chatsync.orphans (tenant_id, inbox_id, provider_message_id, item_key, item)
  select i.tenant_id, i.inbox_id, i.provider_message_id, 'status:' || i.status, to_jsonb(i)
  from unnest(p_items) as i
  where i.kind = 'status' and not exists (
    select from chatsync.message_provider_ids k
    where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
      and k.provider_message_id = i.provider_message_id)
  on conflict do nothing;

  return query
  with joined as (
    delete from chatsync.orphans o
    using unnest(p_items) as i, chatsync.message_provider_ids k
    where i.kind = 'message' and o.tenant_id = i.tenant_id and o.inbox_id = i.inbox_id
      and o.provider_message_id = i.provider_message_id and k.tenant_id = o.tenant_id
      and k.inbox_id = o.inbox_id and k.provider_message_id = o.provider_message_id
    returning k.tenant_id, k.message_id, o.item ->> 'status' as status, nullif(o.item -> 'error', 'null') as error,
      o.item ->> 'correlation_id' as correlation_id
  ),
  reported as (
    select k.tenant_id, k.message_id, i.status, i.error, i.correlation_id
    from unnest(p_items) as i
    join chatsync.message_provider_ids k
      on k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
        and k.provider_message_id = i.provider_message_id
    where i.kind = 'status'
    union all
    select tenant_id, message_id, status, error, correlation_id from joined
  ),
  highest as (
    select distinct on (tenant_id, message_id) *
    from reported
    order by tenant_id, message_id, chatsync.status_rank(status) desc
  ),
  locked as (
    select m.tenant_id, m.message_id, h.status, h.error, h.correlation_id
    from highest h
    join chatsync.messages m on m.tenant_id = h.tenant_id and m.message_id = h.message_id
    where m.direction = 'OUTBOUND'
      and chatsync.status_rank(h.status) > chatsync.status_rank(m.status)
    order by m.message_id
    for no key update of m
  ),
  climbed as (
    update chatsync.messages m
    set status = l.status, error = case l.status when 'FAILED' then l.error end,
      version = m.version + 1
    from locked l
    where m.tenant_id = l.tenant_id and m.message_id = l.message_id
      and chatsync.status_rank(l.status) > chatsync.status_rank(m.status)
    returning m.tenant_id, m.message_id
  )
  select c.tenant_id, c.message_id, l.correlation_id
  from climbed c
  join locked l on l.tenant_id = c.tenant_id and l.message_id = c.message_id
  order by c.message_id;
end
$$;

-- Called by apply_inbound(). Brings conversations up to their new messages, once each: what lasts is
-- the newest message by the provider's clock, and only live inbound ones are unread.
-- The rows are locked already.
create or replace function chatsync.touch_conversations(p_tenant_ids text[], p_message_ids bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  with added as (
    select m.tenant_id, m.conversation_id,
      count(*) filter (where m.direction = 'INBOUND' and m.origin = 'live') as unread,
      (array_agg(m.message_id order by m.sent_at desc, m.position desc))[1] as last_message_id,
      max(m.sent_at) as last_message_at
    from unnest(p_tenant_ids, p_message_ids) as w (tenant_id, message_id)
    join chatsync.messages m on m.tenant_id = w.tenant_id and m.message_id = w.message_id
    group by m.tenant_id, m.conversation_id
  )
  update chatsync.conversations v
  set
    unread_count = v.unread_count + a.unread,
    last_message_id = case
      when v.last_message_at is null or a.last_message_at >= v.last_message_at then a.last_message_id
      else v.last_message_id
    end,
    last_message_at = greatest(v.last_message_at, a.last_message_at),
    version = v.version + 1,
    updated_at = chatsync.now()
  from added a
  where v.tenant_id = a.tenant_id and v.conversation_id = a.conversation_id
$$;

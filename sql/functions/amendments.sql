-- What changes a message that was said: edits, deletions, reactions, what became of a call, content
-- that comes late.

-- Called by apply_inbound(). The items that were not applied before. Those without an id of their own
-- are as harmless when they come again, by what they say.
create or replace function chatsync.unprocessed_items(p_items chatsync.inbound_item[])
returns chatsync.inbound_item[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_found chatsync.inbound_item[];
begin
  with fresh as (
    insert into chatsync.processed_items (tenant_id, inbox_id, item_key, item_day)
    select distinct i.tenant_id, i.inbox_id, i.kind || ':' || i.item_id,
      (i.occurred_at at time zone 'UTC')::date
    from unnest(p_items) as i
    where i.item_id is not null
    order by 1, 2, 3, 4
    on conflict do nothing
    returning tenant_id, inbox_id, item_key
  )
  select array_agg(f.item order by (f.item).position) into v_found
  from (
    -- One that comes twice in a batch is applied once.
    select distinct on (i.inbox_id, coalesce(i.kind || ':' || i.item_id, i.position::text)) i as item
    from unnest(p_items) as i
    where i.item_id is null
      or (i.tenant_id, i.inbox_id, i.kind || ':' || i.item_id) in (select * from fresh)
    order by i.inbox_id, coalesce(i.kind || ':' || i.item_id, i.position::text), i.position
  ) as f;
  return v_found;
end
$$;

-- Called by apply_inbound() with what amends a message, in order. Parks what finds no message.
-- Lock order: messages by id. Returns the messages that changed.
create or replace function chatsync.apply_amendments(
  p_items chatsync.inbound_item[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
declare
  v_item chatsync.inbound_item;
  v_ids bigint[];
begin
  select array_agg(k.message_id order by i.position) into v_ids
  from unnest(p_items) as i
  left join lateral (
    select k.message_id
    from chatsync.message_provider_ids k
    where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
      and k.provider_message_id = i.provider_message_id
    limit 1
  ) as k on true;
  perform from chatsync.messages
  where tenant_id = any (array(select i.tenant_id from unnest(p_items) as i)) and message_id = any (v_ids)
  order by message_id
  for no key update;
  for v_index in 1 .. cardinality(p_items) loop
    v_item := p_items[v_index];
    if v_ids[v_index] is null then
      insert into chatsync.orphans (tenant_id, inbox_id, provider_message_id, item_key, item)
      values (v_item.tenant_id, v_item.inbox_id, v_item.provider_message_id,
        v_item.kind || ':' || coalesce(v_item.item_id, ''), to_jsonb(v_item))
      on conflict do nothing;
    elsif chatsync.amend_message(v_ids[v_index], v_item) then
      tenant_ids := tenant_ids || v_item.tenant_id;
      message_ids := message_ids || v_ids[v_index];
      correlation_ids := correlation_ids || v_item.correlation_id;
    end if;
  end loop;
end
$$;

-- Called by apply_amendments(), with the message locked. Returns whether it changed.
create or replace function chatsync.amend_message(p_message_id bigint, p_item chatsync.inbound_item)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_message chatsync.messages;
  v_at text := chatsync.wire_time(p_item.occurred_at);
  v_call jsonb;
begin
  select * into strict v_message
  from chatsync.messages
  where tenant_id = p_item.tenant_id and message_id = p_message_id;
  case p_item.kind
    when 'edit' then
      if v_at < coalesce(v_message.metadata ->> 'editedAt', '') then
        return false;
      end if;
      v_message.content := p_item.content;
      v_message.metadata := v_message.metadata || coalesce(p_item.metadata, '{}')
        || jsonb_build_object('editedAt', v_at);
    when 'revoke' then
      if v_at >= v_message.metadata ->> 'deletedAt' then
        return false;
      end if;
      v_message.metadata := v_message.metadata || jsonb_build_object('deletedAt', v_at);
    when 'reaction' then
      if v_at < coalesce(v_message.reactions -> (p_item.data ->> 'by') ->> 'timestamp', '') then
        return false;
      end if;
      v_message.reactions := coalesce(v_message.reactions, '{}') || jsonb_build_object(
        p_item.data ->> 'by', jsonb_build_object('emoji', p_item.data -> 'emoji', 'timestamp', v_at));
    when 'played' then
      if v_at >= v_message.metadata ->> 'playedAt' then
        return false;
      end if;
      v_message.metadata := v_message.metadata || jsonb_build_object('playedAt', v_at);
    when 'call' then
      v_call := coalesce(v_message.metadata -> 'call', '{}');
      -- An earlier step that comes late only adds what the later one does not say.
      v_call := case
        when chatsync.call_rank(p_item.metadata -> 'call' ->> 'step') > chatsync.call_rank(v_call ->> 'step')
        then v_call || (p_item.metadata -> 'call')
        else (p_item.metadata -> 'call') || v_call
      end;
      if v_call = v_message.metadata -> 'call' then
        return false;
      end if;
      v_message.metadata := v_message.metadata || jsonb_build_object('call', v_call);
    when 'message' then
      if not v_message.is_placeholder or coalesce(p_item.is_placeholder, false) then
        return false;
      end if;
      v_message.type := p_item.type;
      -- What was done to the message since then stands.
      if not v_message.metadata ? 'editedAt' then
        v_message.content := p_item.content;
      end if;
      v_message.metadata := p_item.metadata || v_message.metadata;
      v_message.is_placeholder := false;
  end case;
  update chatsync.messages
  set content = v_message.content, type = v_message.type, metadata = v_message.metadata,
    reactions = v_message.reactions, is_placeholder = v_message.is_placeholder, version = version + 1
  where tenant_id = p_item.tenant_id and message_id = p_message_id;
  return true;
end
$$;

-- Called by apply_late(). Messages whose answered one has come now know it. Returns what changed.
create or replace function chatsync.apply_replies(
  p_items chatsync.inbound_item[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  with joined as (
    update chatsync.messages m
    set reply_to = t.message_id, metadata = m.metadata - 'replyTo', version = m.version + 1
    from (
      select i.tenant_id, (i.data ->> 'messageId')::bigint as reply_id, k.message_id, i.correlation_id
      from unnest(p_items) as i
      cross join lateral (
        select k.message_id
        from chatsync.message_provider_ids k
        where k.tenant_id = i.tenant_id and k.inbox_id = i.inbox_id
          and k.provider_message_id = i.provider_message_id
        limit 1
      ) as k
      order by 2
    ) as t
    where m.tenant_id = t.tenant_id and m.message_id = t.reply_id and m.reply_to is null
    returning m.tenant_id, m.message_id, t.correlation_id
  )
  select array_agg(j.tenant_id), array_agg(j.message_id), array_agg(j.correlation_id)
  into tenant_ids, message_ids, correlation_ids
  from joined j;
end
$$;

-- Rank of a step of a call; it only climbs.
create or replace function chatsync.call_rank(p_step text) returns integer
language sql immutable parallel safe
return coalesce(array_position(array['offered', 'ringing', 'accepted', 'ended'], p_step), 0);

-- Called by apply_inbound(). The business read messages on its phone. Parks what finds no message.
-- Lock order: conversations, then messages; in the order of the items. Returns what changed. Raises
-- 40001 when a conversation was merged meanwhile.
create or replace function chatsync.apply_reads(
  p_items chatsync.inbound_item[],
  out tenant_ids text[], out message_ids bigint[], out correlation_ids text[],
  out conversations chatsync.entity[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
declare
  v_item chatsync.inbound_item;
  v_message chatsync.messages;
  v_read bigint[];
begin
  foreach v_item in array p_items loop
    select m.* into v_message
    from chatsync.message_provider_ids k
    join chatsync.messages m on m.tenant_id = k.tenant_id and m.message_id = k.message_id
    where k.tenant_id = v_item.tenant_id and k.inbox_id = v_item.inbox_id
      and k.provider_message_id = v_item.provider_message_id;
    if not found then
      insert into chatsync.orphans (tenant_id, inbox_id, provider_message_id, item_key, item)
      values (v_item.tenant_id, v_item.inbox_id, v_item.provider_message_id, 'read:', to_jsonb(v_item))
      on conflict do nothing;
      continue;
    end if;
    v_read := chatsync.mark_read(
      v_message.tenant_id, v_message.conversation_id, v_message.sent_at, v_message.position);
    if not exists (
      select from chatsync.messages
      where tenant_id = v_message.tenant_id and message_id = v_message.message_id
        and conversation_id = v_message.conversation_id
    ) then
      raise exception 'a conversation was merged by another transaction'
        using errcode = 'serialization_failure';
    end if;
    if cardinality(v_read) > 0 then
      message_ids := message_ids || v_read;
      tenant_ids := tenant_ids || array_fill(v_item.tenant_id, array[cardinality(v_read)]);
      correlation_ids := correlation_ids
        || array_fill(v_item.correlation_id, array[cardinality(v_read)]);
      conversations := conversations
        || (v_item.tenant_id, v_message.conversation_id)::chatsync.entity;
    end if;
  end loop;
end
$$;

grant execute on function
  chatsync.unprocessed_items(chatsync.inbound_item[]),
  chatsync.apply_amendments(chatsync.inbound_item[]),
  chatsync.amend_message(bigint, chatsync.inbound_item),
  chatsync.apply_replies(chatsync.inbound_item[]),
  chatsync.call_rank(text),
  chatsync.apply_reads(chatsync.inbound_item[])
to chatsync_worker;

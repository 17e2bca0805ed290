-- Which conversation a message belongs to, and what messages do to it.

-- Called by store_messages(), one array position a thread. Finds or makes the conversation of each
-- (inbox, contact), and locks it. What p_opens goes into the open one, else reopens the last one
-- within the inbox's reopen_hours, else begins a new one; anything else goes into the last one there
-- is, and only p_shows lets a new one be open. conversation_ids is in the order of the arguments.
-- Lock order: conversations by id. Raises 40001 when a contact was merged meanwhile.
create or replace function chatsync.hold_conversations(
  p_tenant_ids text[], p_inbox_ids bigint[], p_contact_ids bigint[], p_opens boolean[],
  p_shows boolean[], p_last_ats timestamptz[],
  out conversation_ids bigint[], out made bigint[], out reopened bigint[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_missing integer[] := array(select generate_series(1, cardinality(p_inbox_ids)));
  v_found record;
  v_made bigint[];
begin
  conversation_ids := array_fill(null::bigint, array[cardinality(p_inbox_ids)]);
  -- One that was open may be resolved, and one that was missing made, while we wait for a lock: only
  -- those that are locked count.
  loop
    for v_found in
      select * from chatsync.lock_open_conversations(
        v_missing, p_tenant_ids, p_inbox_ids, p_contact_ids)
    loop
      conversation_ids[v_found.thread] := v_found.conversation_id;
    end loop;
    v_missing := array(
      select i from unnest(v_missing) as i where conversation_ids[i] is null order by i);
    exit when cardinality(v_missing) = 0;
    for v_found in
      select * from chatsync.take_last_conversations(
        v_missing, p_tenant_ids, p_inbox_ids, p_contact_ids, p_opens, p_last_ats)
    loop
      conversation_ids[v_found.thread] := v_found.conversation_id;
      if v_found.is_reopened then
        reopened := reopened || v_found.conversation_id;
      end if;
    end loop;
    v_missing := array(
      select i from unnest(v_missing) as i where conversation_ids[i] is null order by i);
    exit when cardinality(v_missing) = 0;
    for v_found in
      select * from chatsync.make_conversations(
        v_missing, p_tenant_ids, p_inbox_ids, p_contact_ids, p_shows)
    loop
      conversation_ids[v_found.thread] := v_found.conversation_id;
      made := made || v_found.conversation_id;
    end loop;
    v_missing := array(
      select i from unnest(v_missing) as i where conversation_ids[i] is null order by i);
    exit when cardinality(v_missing) = 0;
  end loop;
end
$$;

-- Called by hold_conversations(). Locks the open conversations of some threads; one that was given to
-- another contact while this waited is not theirs any more.
create or replace function chatsync.lock_open_conversations(
  p_threads integer[], p_tenant_ids text[], p_inbox_ids bigint[], p_contact_ids bigint[]
) returns table (thread integer, conversation_id bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  return query
  select f.thread, v.conversation_id
  from (
    select t.thread, o.conversation_id
    from unnest(p_threads) as t (thread)
    cross join lateral (
      select v.conversation_id
      from chatsync.conversations v
      where v.tenant_id = p_tenant_ids[t.thread] and v.inbox_id = p_inbox_ids[t.thread]
        and v.contact_id = p_contact_ids[t.thread] and v.status <> 'RESOLVED'
      limit 1
    ) as o
    order by o.conversation_id
  ) as f
  cross join lateral (
    select v.conversation_id, v.contact_id, v.status
    from chatsync.conversations v
    where v.tenant_id = p_tenant_ids[f.thread] and v.conversation_id = f.conversation_id
    limit 1
    for no key update
  ) as v
  where v.status <> 'RESOLVED' and v.contact_id = p_contact_ids[f.thread];
end
$$;

-- Called by hold_conversations() for threads without an open conversation. Takes the last one there
-- was, and opens it where a message does that; one that is too old for it is left alone.
create or replace function chatsync.take_last_conversations(
  p_threads integer[], p_tenant_ids text[], p_inbox_ids bigint[], p_contact_ids bigint[],
  p_opens boolean[], p_last_ats timestamptz[]
) returns table (thread integer, conversation_id bigint, is_reopened boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_last record;
begin
  for v_last in
    select t.thread, p_tenant_ids[t.thread] as tenant_id, l.conversation_id
    from unnest(p_threads) as t (thread)
    join chatsync.inboxes b on b.inbox_id = p_inbox_ids[t.thread]
    cross join lateral (
      select v.conversation_id, coalesce(v.last_message_at, v.created_at) as last_at
      from chatsync.conversations v
      where v.tenant_id = p_tenant_ids[t.thread] and v.inbox_id = p_inbox_ids[t.thread]
        and v.contact_id = p_contact_ids[t.thread] and v.merged_into is null
      order by coalesce(v.last_message_at, v.created_at) desc, v.conversation_id desc
      limit 1
    ) as l
    where not p_opens[t.thread]
      or l.last_at >= p_last_ats[t.thread] - make_interval(hours => b.reopen_hours)
        and b.reopen_hours > 0
    order by l.conversation_id
  loop
    begin
      update chatsync.conversations v
      set status = case when p_opens[v_last.thread] then 'OPEN' else v.status end
      where v.tenant_id = v_last.tenant_id and v.conversation_id = v_last.conversation_id
        and v.contact_id = p_contact_ids[v_last.thread] and v.merged_into is null;
      if found then
        thread := v_last.thread;
        conversation_id := v_last.conversation_id;
        is_reopened := p_opens[v_last.thread];
        return next;
      end if;
    exception when unique_violation then
      null; -- Another transaction was faster to open one: it is found in the next round.
    end;
  end loop;
end
$$;

-- Called by hold_conversations() for threads that have none to go on with.
create or replace function chatsync.make_conversations(
  p_threads integer[], p_tenant_ids text[], p_inbox_ids bigint[], p_contact_ids bigint[],
  p_shows boolean[]
) returns table (thread integer, conversation_id bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  return query
  with made as (
    insert into chatsync.conversations (tenant_id, inbox_id, contact_id, status)
    select p_tenant_ids[t.thread], p_inbox_ids[t.thread], p_contact_ids[t.thread],
      case when p_shows[t.thread] then 'OPEN' else 'RESOLVED' end
    from unnest(p_threads) as t (thread)
    order by 1, 2, 3
    on conflict (tenant_id, inbox_id, contact_id) where status <> 'RESOLVED' do nothing
    returning tenant_id, inbox_id, contact_id, conversation_id
  )
  select t.thread, m.conversation_id
  from unnest(p_threads) as t (thread)
  join made m on m.tenant_id = p_tenant_ids[t.thread] and m.inbox_id = p_inbox_ids[t.thread]
    and m.contact_id = p_contact_ids[t.thread];
  -- The foreign key's lock on the contact is held now; a merge that was faster is seen from here on.
  if exists (
    select from unnest(p_threads) as t (thread)
    cross join lateral (
      select c.merged_into
      from chatsync.contacts c
      where c.tenant_id = p_tenant_ids[t.thread] and c.contact_id = p_contact_ids[t.thread]
      limit 1
    ) as c
    where c.merged_into is not null
  ) then
    raise exception 'a contact was merged by another transaction' using errcode = 'serialization_failure';
  end if;
end
$$;

-- Called by store_messages(), one array position a conversation, all of them locked. What lasts is the
-- newest message by the provider's clock.
create or replace function chatsync.touch_conversations(
  p_tenant_ids text[], p_conversation_ids bigint[], p_unread integer[], p_last_ids bigint[],
  p_last_ats timestamptz[]
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  update chatsync.conversations v
  set
    unread_count = v.unread_count + a.unread,
    last_message_id = case
      when v.last_message_at is null or v.last_message_id is null or a.last_at >= v.last_message_at
      then a.last_id
      else v.last_message_id
    end,
    last_message_at = greatest(v.last_message_at, a.last_at),
    version = v.version + 1,
    updated_at = chatsync.now()
  from unnest(p_tenant_ids, p_conversation_ids, p_unread, p_last_ids, p_last_ats)
    as a (tenant_id, conversation_id, unread, last_id, last_at)
  where v.tenant_id = a.tenant_id and v.conversation_id = a.conversation_id;
end
$$;

-- Marks a contact's messages read, up to one of them. Unread are its messages that are DELIVERED, so
-- no more are looked for than the conversation counts. Returns the messages that changed.
-- Lock order: the conversation, then messages by id.
create or replace function chatsync.mark_read(
  p_tenant_id text, p_conversation_id bigint, p_sent_at timestamptz, p_position bigint
) returns bigint[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_unread integer;
  v_newer integer;
  v_read bigint[];
begin
  select unread_count into v_unread
  from chatsync.conversations
  where tenant_id = p_tenant_id and conversation_id = p_conversation_id
  for no key update;
  select count(*) into v_newer
  from chatsync.messages
  where tenant_id = p_tenant_id and conversation_id = p_conversation_id
    and (sent_at, position) > (p_sent_at, p_position)
    and direction = 'INBOUND' and status = 'DELIVERED';
  if v_unread <= v_newer then
    return '{}';
  end if;
  with unread as materialized (
    select message_id
    from chatsync.messages
    where tenant_id = p_tenant_id and conversation_id = p_conversation_id
      and (sent_at, position) <= (p_sent_at, p_position)
      and direction = 'INBOUND' and status = 'DELIVERED'
    order by sent_at desc, position desc
    limit v_unread - v_newer
  ),
  read as (
    update chatsync.messages m
    set status = 'READ', version = m.version + 1
    from (select message_id from unread order by message_id) as u
    where m.tenant_id = p_tenant_id and m.message_id = u.message_id
    returning m.message_id
  )
  select coalesce(array_agg(message_id), '{}') into v_read from read;
  update chatsync.conversations
  set unread_count = v_newer, version = version + 1, updated_at = chatsync.now()
  where tenant_id = p_tenant_id and conversation_id = p_conversation_id;
  return v_read;
end
$$;

grant execute on function
  chatsync.hold_conversations(text[], bigint[], bigint[], boolean[], boolean[], timestamptz[]),
  chatsync.lock_open_conversations(integer[], text[], bigint[], bigint[]),
  chatsync.take_last_conversations(integer[], text[], bigint[], bigint[], boolean[], timestamptz[]),
  chatsync.make_conversations(integer[], text[], bigint[], bigint[], boolean[]),
  chatsync.touch_conversations(text[], bigint[], integer[], bigint[], timestamptz[]),
  chatsync.mark_read(text, bigint, timestamptz, bigint)
to chatsync_worker;

-- What a provider says of an inbox itself: its connection, its account.

-- Called by apply_late() with connections and notices, in order. Each that changes something gives the
-- inbox a new version and is announced. Lock order: inboxes by id.
create or replace function chatsync.apply_inbox_news(p_items chatsync.inbound_item[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_item chatsync.inbound_item;
begin
  perform from chatsync.inboxes
  where inbox_id = any (array(select i.inbox_id from unnest(p_items) as i))
  order by inbox_id
  for no key update;
  foreach v_item in array p_items loop
    if v_item.kind = 'notice' then
      perform chatsync.note_inbox(v_item);
    elsif v_item.data -> 'qrcode' is not null and v_item.data -> 'qrcode' <> 'null' then
      perform chatsync.show_qrcode(v_item);
    else
      perform chatsync.move_connection(v_item);
    end if;
  end loop;
end
$$;

-- A connection that tries again is as closed as before, until it opens: one that flaps is one event.
-- The reason 0 stands for a close that gave none; only an inbox that never closed has null.
create or replace function chatsync.move_connection(p_item chatsync.inbound_item) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_state text := p_item.data ->> 'state';
  v_reason integer := (p_item.data ->> 'reason')::integer;
  v_inbox chatsync.inboxes;
begin
  if v_state in ('close', 'refused') then
    v_reason := coalesce(v_reason, 0);
  end if;
  update chatsync.inboxes b
  set state = v_state, state_reason = v_reason, version = b.version + 1,
    qrcode = case when v_state = 'open' then null else b.qrcode end
  where b.inbox_id = p_item.inbox_id and v_state is not null
    and (b.state <> v_state
      or (v_state = 'close' and v_reason > 0 and b.state_reason is distinct from v_reason)
      or (v_state = 'close' and b.state_reason is null))
    and not (v_state = 'connecting' and b.state in ('close', 'refused') and b.state_reason is not null)
  returning b.* into v_inbox;
  if found then
    perform chatsync.publish_inbox(v_inbox, 'connection:update', p_item.correlation_id,
      jsonb_strip_nulls(jsonb_build_object('reason', nullif(v_reason, 0))));
  end if;
end
$$;

-- A code that comes late, when the connection is open, would be shown for ever.
create or replace function chatsync.show_qrcode(p_item chatsync.inbound_item) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_inbox chatsync.inboxes;
begin
  update chatsync.inboxes b
  set qrcode = p_item.data -> 'qrcode', version = b.version + 1
  where b.inbox_id = p_item.inbox_id and b.state <> 'open'
    and b.qrcode is distinct from p_item.data -> 'qrcode'
  returning b.* into v_inbox;
  if found then
    perform chatsync.publish_inbox(v_inbox, 'qrcode:update', p_item.correlation_id,
      jsonb_build_object('qrcode', v_inbox.qrcode));
  end if;
end
$$;

create or replace function chatsync.note_inbox(p_item chatsync.inbound_item) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_inbox chatsync.inboxes;
begin
  insert into chatsync.inbox_notices (tenant_id, inbox_id, kind, title, data, occurred_at)
  values (
    p_item.tenant_id, p_item.inbox_id, p_item.type, p_item.content, p_item.data, p_item.occurred_at);
  update chatsync.inboxes b set version = b.version + 1
  where b.inbox_id = p_item.inbox_id
  returning b.* into v_inbox;
  perform chatsync.publish_inbox(v_inbox, 'connection:update', p_item.correlation_id,
    jsonb_build_object('notice', jsonb_build_object(
      'kind', p_item.type, 'title', p_item.content, 'data', p_item.data,
      'timestamp', chatsync.wire_time(p_item.occurred_at))));
end
$$;

create or replace function chatsync.publish_inbox(
  p_inbox chatsync.inboxes, p_type text, p_correlation_id text, p_more jsonb
) returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
  insert into chatsync.outbox (tenant_id, topics, type, data, correlation_id)
  values (
    p_inbox.tenant_id, array['tenant:' || p_inbox.tenant_id], p_type,
    jsonb_build_object(
      'inboxId', p_inbox.inbox_id::text, 'state', p_inbox.state, 'version', p_inbox.version) || p_more,
    p_correlation_id)
$$;

grant execute on function
  chatsync.apply_inbox_news(chatsync.inbound_item[]),
  chatsync.move_connection(chatsync.inbound_item),
  chatsync.show_qrcode(chatsync.inbound_item),
  chatsync.note_inbox(chatsync.inbound_item),
  chatsync.publish_inbox(chatsync.inboxes, text, text, jsonb)
to chatsync_worker;

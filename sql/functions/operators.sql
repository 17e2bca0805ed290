-- The operator's hands in the queue, one message at a time. Operators have no DML of their own: each
-- function runs as the owner, and leaves lanes as enqueue() and settle() would.

-- Called by the functions below: what they do in one statement the next one has to see.
create or replace function chatsync.require_read_committed() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the queue is changed in READ COMMITTED, not %',
      current_setting('transaction_isolation') using errcode = 'CS003';
  end if;
end
$$;

-- What a message holds, for human eyes and terminals: its first characters where it is UTF-8, else its
-- first bytes, escaped.
create or replace function chatsync.preview(p_payload jsonb, p_body bytea) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  -- A character has up to four bytes.
  v_head bytea := substr(p_body, 1, 800);
begin
  if p_body is null then
    return left(p_payload::text, 200);
  end if;
  -- The cut may have gone through a character.
  for v_missing in 0..case when length(p_body) > 800 then 3 else 0 end loop
    begin
      return regexp_replace(
        left(convert_from(substr(v_head, 1, length(v_head) - v_missing), 'UTF8'), 200),
        '[\x01-\x1f\x7f-\x9f]', ' ', 'g');
    exception when character_not_in_repertoire or untranslatable_character then
      null;
    end;
  end loop;
  return regexp_replace(left(encode(v_head, 'escape'), 200), '[\x01-\x1f\x7f]', ' ', 'g');
end
$$;

-- What is in a queue, as it runs: first what a worker has, then messages with a key in their order and
-- those without by priority, and last what waits for a time.
create or replace function chatsync.peek_queue(
  p_queue text, p_limit integer default 20, p_tenant_id text default null,
  p_ordering_key text default null
) returns table (
  id bigint, tenant_id text, ordering_key text, message_type text, status text, priority smallint,
  retry_count integer, scheduled_at timestamptz, created_at timestamptz, correlation_id text,
  last_error text, preview text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
  select m.id, m.tenant_id, m.ordering_key, m.message_type, m.status, m.priority, m.retry_count,
    m.scheduled_at, m.created_at, m.correlation_id, m.last_error, chatsync.preview(m.payload, m.body)
  from (
    select f.id, row_number() over () as position
    from (
      select w.id
      from chatsync.message_queue w
      -- A retry with a key keeps its place, and the others of its key behind it.
      cross join lateral (
        select w.status = 'scheduled' or (w.status = 'retrying' and w.ordering_key is null) as is_later
      ) as t
      where w.queue = p_queue and (p_tenant_id is null or w.tenant_id = p_tenant_id)
        and (p_ordering_key is null or w.ordering_key = p_ordering_key)
      order by w.status <> 'processing', t.is_later, case when t.is_later then w.scheduled_at end,
        case when w.ordering_key is null then -w.priority else 0 end, w.id
      limit p_limit
    ) as f
  ) as o
  join chatsync.message_queue m on m.id = o.id
  order by o.position
$$;
comment on function chatsync.peek_queue is 'What is in a queue, in the order in which it runs.';

-- Called with a message that is to change. Holds its lane and turn, so that no claim and no settlement is
-- under way there; the caller lets the lane go if it is free. p_id is null when the message is gone. Waits
-- for the turn alone. Lock order: lane, turn, message. Raises CS005 when a worker has it, CS003 outside
-- READ COMMITTED.
create or replace function chatsync.hold_message(
  inout p_id bigint, out queue text, out lane text, out is_free boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_message chatsync.message_queue;
begin
  select * into v_message from chatsync.message_queue m where m.id = p_id;
  queue := v_message.queue;
  lane := chatsync.lane(queue, v_message.tenant_id, v_message.ordering_key);
  loop
    perform chatsync.hold_lanes(
      queue, array[v_message.tenant_id], array[v_message.inbox_id], array[v_message.ordering_key],
      array[v_message.priority]);
    exit when lane is null;
    select t.lease_id is null into is_free
    from chatsync.lane_turns t
    where t.lane = hold_message.lane
    for update;
    -- A settlement that was waited for put another turn in its place.
    exit when found;
  end loop;
  -- In a new snapshot. Who has locked it is claiming, promoting or settling it.
  select * into v_message
  from chatsync.message_queue m
  where m.id = p_id and m.queue = hold_message.queue
  for update skip locked;
  if v_message.status = 'processing'
    or (not found and exists (select from chatsync.message_queue m where m.id = p_id)) then
    raise exception 'message % is in the hands of a worker', p_id
      using errcode = 'CS005', hint = 'Try again when it is settled.';
  end if;
  p_id := v_message.id;
end
$$;

-- A message that waits for a time, retrying or scheduled, runs now, or first of its key's when its turn
-- comes. False: it is gone, or in line already. Raises CS005 when a worker has it.
create or replace function chatsync.retry_message(p_id bigint) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_held record;
  v_is_waiting boolean;
begin
  select * into v_held from chatsync.hold_message(p_id);
  update chatsync.message_queue
  set status = 'pending', scheduled_at = chatsync.now()
  where id = v_held.p_id and status in ('retrying', 'scheduled');
  v_is_waiting := found;
  if v_held.is_free then
    perform chatsync.let_lanes_go(array[v_held.lane]);
  end if;
  if v_is_waiting then
    perform chatsync.ring_hint('queues', array[v_held.queue], null);
  end if;
  return v_is_waiting;
end
$$;
comment on function chatsync.retry_message is 'Runs a message now that waits for a later time.';

-- Takes a message out of the queue, into the dead letters; what waited behind it may run. False: it is
-- gone. Raises CS005 when a worker has it.
create or replace function chatsync.cancel_message(p_id bigint, p_reason text) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_held record;
begin
  select * into v_held from chatsync.hold_message(p_id);
  perform chatsync.dead_letter(v_held.p_id, coalesce(p_reason, 'cancelled'));
  if v_held.is_free then
    perform chatsync.let_lanes_go(array[v_held.lane]);
  end if;
  if v_held.p_id is null then
    return false;
  end if;
  perform chatsync.ring_hint('queues', array[v_held.queue], null);
  return true;
end
$$;
comment on function chatsync.cancel_message is 'Moves a message that no worker has to the dead letters.';

grant execute on function
  chatsync.peek_queue(text, integer, text, text),
  chatsync.retry_message(bigint),
  chatsync.cancel_message(bigint, text)
to chatsync_operator, chatsync_worker;

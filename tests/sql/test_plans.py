"""Statements on the hot paths use the index that was made for them."""

import pytest
from psycopg import sql

from conftest import Connections, SyncConnection
from sql.hot_statements import STATEMENTS
from sql.planning import Statement, indexes, large_tables_scanned, plan

# Made for what is not written yet, or for uniqueness alone.
NOT_READ = {
    "failed_messages_recent_idx",
    "inbox_notices_recent_idx",
    "message_archive_id_idx",
    "messages_client_id_idx",
}

ROWS = """
select chatsync.create_tenant(t) from unnest(array['t1', 't2']) as t;
select chatsync.limit_rate('outbound', 1, '1 s');
insert into chatsync.gateway_nodes select 'node ' || n, now() from generate_series(1, 400) as n;
insert into chatsync.presence (tenant_id, user_id, node_id, status, sessions)
  select 't' || 1 + n % 100, 'u' || n, 'node ' || 1 + n % 400, 'online', 1
  from generate_series(1, 8000) as n;
insert into chatsync.limit_buckets (queue, bucket, limit_id, is_crowded)
  select 'outbound', 'rate/key/' || n, limit_id, n % 1000 = 0
  from generate_series(1, 8000) as n, chatsync.queue_limits;
insert into chatsync.inboxes (tenant_id, provider, external_id, account_id)
  select 't' || 1 + n % 2, 'whatsapp_cloud', n, 'account ' || n from generate_series(1, 8000) as n;
insert into chatsync.contacts (tenant_id, contact_id, name, merged_into)
  select 't' || 1 + n % 2, n, 'x', case when n % 100 = 0 then n - 2 end
  from generate_series(1, 4000) as n;
insert into chatsync.contact_identities (tenant_id, scope, kind, value, contact_id)
  select 't' || 1 + n % 2, 'tenant', 'phone', n::text, n from generate_series(1, 4000) as n;
insert into chatsync.conversations
  (tenant_id, conversation_id, inbox_id, contact_id, last_message_at, last_message_id)
  select 't' || 1 + n % 2, n, 1 + (n + 1) % 2, n, now() - n * interval '1 min', n * 4
  from generate_series(1, 4000) as n;
insert into chatsync.messages (
  tenant_id, message_id, conversation_id, inbox_id, contact_id, direction, type, status, origin,
  sent_at, position)
  select 't' || 1 + n / 4 % 2, n, n / 4, 1, n / 4, 'INBOUND', 'TEXT', 'DELIVERED', 'live',
    now() - n * interval '1 s', n
  from generate_series(4, 16000) as n;
insert into chatsync.message_provider_ids (tenant_id, inbox_id, provider_message_id, message_id)
  select 't' || 1 + n % 2, 1, 'm' || n, n from generate_series(1, 16000) as n;
insert into chatsync.orphans (
  tenant_id, inbox_id, provider_message_id, item_key, item, received_at)
  select 't' || 1 + n % 2, 1, 'o' || n, 'status:SENT', '{}', now() - n * interval '1 min'
  from generate_series(1, 8000) as n;
insert into chatsync.queue_lanes (lane, queue, tenant_id, ordering_key)
  select 'outbound/t1/' || n, 'outbound', 't1', n from generate_series(1, 1000) as n;
insert into chatsync.lane_turns (lane, queue, priority, ready_at, lease_id, worker_id)
  select 'outbound/t1/' || n, 'outbound', 0, now() + (n - 500) * interval '1 s',
    case when n % 20 = 0 then n end, case when n % 20 = 0 then 1 end
  from generate_series(1, 1000) as n;
select set_config('chatsync.lanes_held', 'yes', false);
insert into chatsync.message_queue (
  queue, tenant_id, message_type, correlation_id, ordering_key, dedupe_key, status, deaths,
  scheduled_at, lease_id, worker_id)
  select 'outbound', 't1', 'x', 'x', case when n % 2 = 0 then n / 2 % 1000 + 1 end,
    case when n % 3 = 0 then 'd' || n end,
    case n % 10 when 1 then 'scheduled' when 2 then 'retrying' when 3 then 'processing'
      else 'pending' end,
    case when n % 50 = 7 then 1 else 0 end, now() + (n - 2000) * interval '1 s',
    case when n % 10 = 3 then n end, case when n % 10 = 3 then 1 end
  from generate_series(1, 8000) as n;
insert into chatsync.failed_messages (
  queue, tenant_id, correlation_id, message_type, error_message)
  select 'inbound', 't1', 'c' || n, 'x', 'x' from generate_series(1, 4000) as n;
insert into chatsync.failed_attempts (
  message_id, tenant_id, queue, correlation_id, attempt, failed_at, outcome)
  select n, 't1', 'outbound', 'c' || n, 1, now(), 'failed' from generate_series(1, 8000) as n;
insert into chatsync.message_archive (
  id, queue, tenant_id, message_type, correlation_id, metadata, priority, retry_count, scheduled_at,
  created_at, done_at)
  select n, 'outbound', 't1', 'x', 'c' || n, '{}', 0, 1, now(), now(), now()
  from generate_series(1, 8000) as n;
insert into chatsync.outbox (tenant_id, topics, type, data)
  select 't' || 1 + n % 2, array['x'], 'x', '{}' from generate_series(1, 8000) as n;
insert into chatsync.tickets (ticket_hash, tenant_id, user_id, claims, expires_at)
  select sha256(n::text::bytea), 't' || 1 + n % 2, n / 4, '{}', now() + (n - 500) * interval '1 s'
  from generate_series(1, 4000) as n;
select chatsync.stamp(4000);
insert into chatsync.low_waters (name, low, fence, candidate, holders, raised_at)
  select 'messages', 0, 0, 0, '{}', now() from generate_series(1, 4000);
"""


@pytest.fixture(scope="module")
def filled(shared: Connections) -> SyncConnection:
    """Some thousand rows in every table, analyzed."""
    owner = shared.open("chatsync_owner")
    owner.execute(ROWS)
    owner.execute("analyze")
    return owner


# These say of themselves that they are never planned for all parameters alike.
CUSTOM_ONLY = {"list_conversations"}
PLANNED = [
    (statement, mode)
    for statement in STATEMENTS
    for mode in ("generic", "custom")
    if mode == "custom" or statement.function not in CUSTOM_ONLY
]


@pytest.mark.parametrize(
    ("statement", "mode"),
    PLANNED,
    ids=lambda it: f"{it.function}-{it.index}" if isinstance(it, Statement) else it,
)
def test_the_statement_uses_its_index(
    filled: SyncConnection, statement: Statement, mode: str
) -> None:
    nodes = plan(filled, statement, mode)
    found = indexes(nodes)

    assert any(is_of(filled, name, statement.index) for name in found), found
    assert large_tables_scanned(filled, nodes) == set()


@pytest.mark.parametrize(
    "statement", STATEMENTS, ids=lambda statement: f"{statement.function}-{statement.index}"
)
def test_the_check_notices_a_missing_index(filled: SyncConnection, statement: Statement) -> None:
    with filled.transaction(force_rollback=True):
        if statement.index.endswith("_pkey"):
            drop = sql.SQL("alter table chatsync.{} drop constraint {}").format(
                sql.Identifier(statement.index.removesuffix("_pkey")),
                sql.Identifier(statement.index),
            )
        else:
            drop = sql.SQL("drop index chatsync.{}").format(sql.Identifier(statement.index))
        filled.execute(drop)
        found = indexes(plan(filled, statement, "custom"))

    assert not any(is_of(filled, name, statement.index) for name in found), found


def test_every_index_is_used_by_a_statement_here(filled: SyncConnection) -> None:
    rows = filled.execute(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where c.relnamespace = 'chatsync'::regnamespace and not c.relispartition"
        " and not exists (select from pg_constraint where conindid = c.oid)"
    )
    used = {statement.index for statement in STATEMENTS}
    assert {row[0] for row in rows} - used == NOT_READ


def is_of(filled: SyncConnection, name: str, index: str) -> bool:
    """Whether it is the index, or a partition's part of it."""
    row = filled.execute(
        "select exists (select from pg_partition_ancestors(%s::regclass) as a"
        " where a.relid = %s::regclass)",
        [f"chatsync.{name}", f"chatsync.{index}"],
    ).fetchone()
    return name == index or row == (True,)

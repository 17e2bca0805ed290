"""What the outbox accepts, stamp() can number: no rule of the log is not one of the outbox."""

import secrets
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.log_calls import publish, stamp
from sql.queue_calls import count, value


@pytest.fixture
def owner(shared: Connections) -> Iterator[SyncConnection]:
    """A connection inside a transaction that is undone after the test."""
    with shared.open("chatsync_owner") as owner, owner.transaction(force_rollback=True):
        for tenant in ("t1", "t2"):
            owner.execute("select chatsync.create_tenant(%s)", [tenant])
        yield owner


INSERT: LiteralString = (
    "insert into chatsync.outbox (tenant_id, topics, type, correlation_id, data, created_at) values"
    " (%(tenant_id)s, %(topics)s, %(type)s, %(correlation_id)s, %(data)s, %(created_at)s)"
)
UNUSUAL = {
    "a tenant that is nowhere": ("tenant_id", "stranger"),
    "a tenant too long for an index": ("tenant_id", secrets.token_hex(4000)),
    "a tenant without a name": ("tenant_id", ""),
    "long topics": ("topics", [secrets.token_hex(4000)] * 16),
    "a long type": ("type", "ü" * 100),
    "a long correlation id": ("correlation_id", secrets.token_hex(4000)),
    "much data": ("data", Jsonb({"x": "y" * 1_000_000})),
    "much data that does not shrink": ("data", Jsonb(secrets.token_hex(524_000))),
    "the end of time": ("created_at", "infinity"),
    "the beginning of time": ("created_at", "4713-01-01 BC"),
}


@pytest.mark.parametrize(("column", "content"), UNUSUAL.values(), ids=UNUSUAL.keys())
def test_whatever_the_outbox_accepts_is_stamped_and_stops_nobody(
    owner: SyncConnection, column: str, content: object
) -> None:
    row = {
        "tenant_id": "t1",
        "topics": ["x"],
        "type": "x",
        "correlation_id": None,
        "data": Jsonb({}),
        "created_at": "2026-01-01",
        column: content,
    }
    try:
        with owner.transaction():
            owner.execute(INSERT, row)
        accepted = 1
    except psycopg.errors.IntegrityError:
        accepted = 0
    publish(owner, "t2", 0)

    heads = stamp(owner)
    while value(owner, "select chatsync.outbox_waiting()"):
        stamp(owner)

    assert heads is not None
    assert heads["t2"] == 1
    assert count(owner, "event_log") == 1 + accepted


@pytest.mark.parametrize(
    ("column", "content"),
    [
        ("topics", "'{}'"),
        ("topics", "array[null]"),
        ("topics", "array_fill('x'::text, array[17])"),
        ("topics", "null"),
        ("type", "''"),
        ("type", "repeat('x', 101)"),
        ("data", "null"),
        ("data", "to_jsonb(repeat('x', 1048577))"),
        ("tenant_id", "null"),
    ],
)
def test_the_outbox_refuses_what_the_log_should_not_hold(
    owner: SyncConnection, column: str, content: LiteralString
) -> None:
    row: dict[str, LiteralString] = {
        "tenant_id": "'t1'",
        "topics": "array['x']",
        "type": "'x'",
        "data": "'{}'",
        column: content,
    }
    insert = sql.SQL("insert into chatsync.outbox ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.SQL, row.values()))
    )
    with pytest.raises(psycopg.errors.IntegrityError):
        owner.execute(insert)


def test_every_rule_of_the_log_stands_on_the_outbox(owner: SyncConnection) -> None:
    given_by_the_stamp = {"seq", "stamped_at"}
    rows = owner.execute(
        "select attrelid::regclass::text, attname, attnotnull,"
        " format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid in ('chatsync.outbox'::regclass, 'chatsync.event_log'::regclass)"
        " and attnum > 0 and not attisdropped"
    ).fetchall()
    outbox = {name: rest for table, name, *rest in rows if table == "chatsync.outbox"}
    log = {name: rest for table, name, *rest in rows if table == "chatsync.event_log"}
    for name in log.keys() - given_by_the_stamp:
        (is_required, kind), (is_promised, same_kind) = log[name], outbox[name]
        assert kind == same_kind
        assert is_promised or not is_required, f"{name} may be null in the outbox"

    # Not-null constraints have rows of their own from PostgreSQL 18 on.
    rules = owner.execute(
        "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint"
        " where contype <> 'n' and conrelid in ("
        "select 'chatsync.event_log'::regclass union all"
        " select inhrelid from pg_inherits where inhparent = 'chatsync.event_log'::regclass)"
    ).fetchall()
    assert rules == []
    triggers = owner.execute(
        "select tgname from pg_trigger where tgrelid = 'chatsync.event_log'::regclass"
    ).fetchall()
    assert triggers == []

"""Commit, then stamp: dense numbers for whatever was committed."""

import secrets
from itertools import groupby
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.log_calls import Numbered, epochs, publish, read, stamp
from sql.queue_calls import count, value
from sql.stepping import Stepper

TENANTS = ("t1", "t2", "t3")


@pytest.fixture(autouse=True)
def tenants(worker: SyncConnection) -> None:
    for tenant in TENANTS:
        worker.execute("select chatsync.create_tenant(%s)", [tenant])


def test_numbers_are_dense_for_each_tenant_in_the_order_of_publishing(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    published = [TENANTS[number * number % 3] for number in range(30)]
    for number, tenant in enumerate(published):
        publish(worker, tenant, number)

    while stamp(worker, limit=7):
        pass

    events = read(owner, dict.fromkeys(TENANTS, 0))
    for tenant, of_tenant in groupby(events, key=lambda event: event.tenant):
        labels = [number for number, its in enumerate(published) if its == tenant]
        assert list(of_tenant) == [
            Numbered(tenant, seq, label) for seq, label in enumerate(labels, start=1)
        ]
    assert len(events) == 30


def test_stamping_tells_the_heads_of_the_logs_that_grew(worker: SyncConnection) -> None:
    assert stamp(worker) == {}
    for tenant in ("t1", "t2", "t1"):
        publish(worker, tenant, 0)
    assert stamp(worker) == {"t1": 2, "t2": 1}
    publish(worker, "t2", 0)
    assert stamp(worker) == {"t2": 2}

    positions = worker.execute(
        "select tenant_id, head, trimmed_to from chatsync.stream_positions(%s) order by 1",
        [["t1", "t2", "t3", "unknown"]],
    ).fetchall()
    assert positions == [("t1", 2, 0), ("t2", 2, 0), ("t3", 0, 0)]


def test_an_uncommitted_event_holds_up_nobody_and_gets_its_number_after_its_commit(
    connections: Connections, worker: SyncConnection
) -> None:
    slow = connections.open("chatsync_worker")
    with slow.transaction():
        publish(slow, "t1", "slow")
        publish(worker, "t1", "fast")
        assert stamp(worker) == {"t1": 1}
        assert stamp(worker) == {}
    assert stamp(worker) == {"t1": 2}

    assert read(worker, {"t1": 0}) == [Numbered("t1", 1, "fast"), Numbered("t1", 2, "slow")]


def test_what_is_rolled_back_leaves_no_hole(worker: SyncConnection) -> None:
    publish(worker, "t1", "before")
    with worker.transaction(force_rollback=True):
        publish(worker, "t1", "undone")
    publish(worker, "t1", "after")
    stamp(worker)

    assert [event.label for event in read(worker, {"t1": 0})] == ["before", "after"]


def test_who_does_not_get_the_lock_is_told_and_finds_its_event_waiting_afterwards(
    connections: Connections, worker: SyncConnection
) -> None:
    holder = connections.open("chatsync_gateway")
    with holder.transaction():
        assert stamp(holder) == {}
        publish(worker, "t1", "late")
        assert stamp(worker) is None
    assert value(holder, "select chatsync.outbox_waiting()") is True
    assert stamp(holder) == {"t1": 1}


@pytest.mark.parametrize(
    "level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
)
def test_stamping_in_an_older_snapshot_is_refused(
    worker: SyncConnection, level: psycopg.IsolationLevel
) -> None:
    publish(worker, "t1", 0)
    worker.isolation_level = level

    with worker.transaction(), pytest.raises(psycopg.DatabaseError) as caught:
        stamp(worker)
    assert caught.value.sqlstate == "CS003"
    worker.isolation_level = None
    assert stamp(worker) == {"t1": 1}


def test_the_first_event_of_a_tenant_without_a_stream_begins_one(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("insert into chatsync.tenants (tenant_id, name) values ('plain', 'plain')")
    publish(worker, "plain", 0)

    assert stamp(worker) == {"plain": 1}
    assert "plain" in epochs(owner)


def test_an_event_that_is_committed_while_streams_are_made_is_not_lost(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    worker.execute(
        "insert into chatsync.tenants (tenant_id, name) values ('new', ''), ('newer', '')"
    )
    publish(worker, "new", 0)
    stamping = connections.open("chatsync_gateway")
    owner.execute("begin")
    owner.execute("insert into chatsync.streams (tenant_id) values ('new')")
    running = stepper.start_and_wait(stamping, "select chatsync.stamp()")
    publish(worker, "newer", 0)
    owner.execute("commit")
    running.result()

    while value(worker, "select chatsync.outbox_waiting()"):
        stamp(worker)
    assert read(owner, {"new": 0, "newer": 0}) == [
        Numbered("new", 1, 0),
        Numbered("newer", 1, 0),
    ]


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
    worker: SyncConnection, owner: SyncConnection, column: str, content: object
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
        worker.execute(
            "insert into chatsync.outbox"
            " (tenant_id, topics, type, correlation_id, data, created_at) values"
            " (%(tenant_id)s, %(topics)s, %(type)s, %(correlation_id)s, %(data)s, %(created_at)s)",
            row,
        )
        accepted = 1
    except psycopg.errors.IntegrityError:
        accepted = 0
    publish(worker, "t2", 0)

    heads = stamp(worker)

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
    worker: SyncConnection, column: str, content: LiteralString
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
        worker.execute(insert)


def test_an_event_for_an_unknown_tenant_is_refused(worker: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="unknown tenant nobody"):
        publish(worker, "nobody", 0)


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


def test_events_of_several_tenants_are_read_in_order_up_to_the_limit_of_each(
    worker: SyncConnection,
) -> None:
    for number in range(5):
        for tenant in TENANTS:
            publish(worker, tenant, number)
    stamp(worker)

    events = read(worker, {"t2": 3, "t1": 0, "t3": 5}, limit=2)

    assert events == [
        Numbered("t1", 1, 0),
        Numbered("t1", 2, 1),
        Numbered("t2", 4, 3),
        Numbered("t2", 5, 4),
    ]

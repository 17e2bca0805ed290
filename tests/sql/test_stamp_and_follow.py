"""A stamp that tells what it numbered, as a read of the log would."""

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from chatsync.events.feed import encode
from chatsync.events.stamped import decode
from conftest import Connections, SyncConnection
from sql.log_calls import publish

PATIENCE_SECONDS = 10.0
WHOLE = "select * from chatsync.read_events(array['t1', 't2'], array[0, 0], 1000)"


@pytest.fixture
def worker(connections: Connections) -> SyncConnection:
    worker = connections.open("chatsync_worker")
    worker.execute("set chatsync.doorbell = off")
    for tenant in ("t1", "t2"):
        worker.execute("select chatsync.create_tenant(%s)", [tenant])
    return worker


def stamp(
    connection: SyncConnection, followed: str | None, by: str | None = None
) -> tuple[set[str], Any]:
    """Whose logs grew, and what is told of those that are followed."""
    row = connection.execute(
        "call chatsync.stamp_and_follow(1000, %s, %s)", [by, followed]
    ).fetchone()
    assert row is not None
    tenants, is_left, events = row
    assert is_left is False
    return set(tenants or ()), events  # pyright: ignore[reportArgumentType]


def test_what_is_told_is_what_a_read_would_find(worker: SyncConnection) -> None:
    odd = {"text": 'é \U0001f62e " \\ \n {}', "number": 12345678901234567890.5, "null": None}
    for topics, correlation_id in (['a"b', "c,d", "é"], "x y"), (["NULL"], None), (["{}"], ""):
        worker.execute(
            "select chatsync.publish('t1', %s, 'odd \"type', %s, %s)",
            [topics, Jsonb(odd), correlation_id],
        )
    publish(worker, "t2", "of another")

    tenants, events = stamp(worker, "t2,t1")

    assert tenants == {"t1", "t2"}
    told = [row for rows in decode(events).values() for row in rows]
    found = [tuple(row) for row in worker.execute(WHOLE)]
    assert told == found
    assert [encode(row) for row in told] == [encode(row) for row in found]
    # Its first is 1, and what follows is read by position.
    assert [row[2] for row in decode(events)["t1"]] == [1, 2, 3]


def test_only_those_are_told_of_who_are_followed(worker: SyncConnection) -> None:
    for tenant in ("t1", "t2"):
        publish(worker, tenant, 0)
    tenants, events = stamp(worker, "t2,t11,t")
    assert tenants == {"t1", "t2"}
    assert list(decode(events)) == ["t2"]
    publish(worker, "t1", 1)
    assert stamp(worker, None) == ({"t1"}, None)
    assert stamp(worker, "t1") == (set(), None)


def test_many_events_of_a_tenant_are_left_to_be_read_and_others_are_told(
    worker: SyncConnection,
) -> None:
    for label in range(201):
        publish(worker, "t1", label)
    publish(worker, "t2", 0)
    tenants, events = stamp(worker, "t1,t2")
    assert tenants == {"t1", "t2"}
    assert list(decode(events)) == ["t2"]


def test_large_events_are_left_to_be_read(worker: SyncConnection) -> None:
    # Of a text that cannot be compressed.
    worker.execute(
        "select chatsync.publish('t1', array['a'], 'test', (select jsonb_agg(random())"
        " from generate_series(1, 10000)))"
    )
    assert stamp(worker, "t1") == ({"t1"}, None)


def test_who_rings_later_is_not_rung_for(connections: Connections, worker: SyncConnection) -> None:
    listener = connections.open("chatsync_gateway", tenants="t1")
    listener.execute("listen chatsync")
    publish(worker, "t1", 0)
    stamp(worker, "t1")
    publish(worker, "t1", 1)
    stamp(worker, "t1", by="me")

    heard = next(listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)).payload
    assert heard == '{"tenants" : ["t1"], "by" : "me"}'
    assert list(listener.notifies(timeout=0)) == []


def test_a_foreign_writer_rings_for_who_stamps(
    connections: Connections, worker: SyncConnection
) -> None:
    listener = connections.open("chatsync_gateway", tenants="t1")
    listener.execute("listen chatsync")
    worker.execute("reset chatsync.doorbell")
    publish(worker, "t1", 0)
    heard = next(listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)).payload
    assert heard == '{"outbox":true}'

"""The queue as operators look at it: how deep, what is blocked, who works."""

from datetime import timedelta
from typing import Any

import pytest

from conftest import Connections, SyncConnection
from sql.inbound_calls import create_inbox
from sql.operator_calls import blocked, cancel, enqueue_backing_off, rows
from sql.queue_calls import claim, enqueue, reap_until_freed, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

LATE = "2999-01-01T00:00:00Z"
SET_NOW = "select set_config('chatsync.now', %s, false)"


@pytest.fixture
def reader(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_reader")


def depth(reader: SyncConnection) -> dict[str, Any]:
    return {row.queue: row for row in rows(reader, "select * from chatsync.queue_depth")}


def oldest(reader: SyncConnection) -> timedelta | None:
    return depth(reader)["outbound"].oldest_claimable


def test_the_depth_counts_by_status(connections: Connections, reader: SyncConnection) -> None:
    connection, worker_id = register(connections)
    enqueue_backing_off(connection, worker_id, "a", 1)
    enqueue_backing_off(connection, worker_id, None, 1)
    enqueue(connection, "a", 2)
    enqueue(connection, "b", "claimed")
    assert len(claim(connection, worker_id)) == 1
    enqueue(connection, "c", 1)
    enqueue(connection, "d", 1, p_scheduled_at=LATE)
    cancel(connection, enqueue(connection, "e", 1))

    found = depth(reader)["outbound"]

    assert (found.scheduled, found.pending, found.processing, found.retrying) == (1, 2, 1, 2)
    assert (found.dead, found.lanes, found.free_lanes) == (1, 3, 2)


def test_every_queue_that_has_anything_is_there_once(
    worker: SyncConnection, reader: SyncConnection
) -> None:
    create_inbox(worker)
    assert depth(reader) == {}
    worker.execute("select chatsync.enqueue('empty', 't1', 'x', '{}', 'a')")
    cancel(worker, value(worker, "select id from chatsync.message_queue"))
    worker.execute("select chatsync.enqueue('keyless', 't1', 'x', '{}')")
    worker.execute("select chatsync.enqueue('keyless', 't2', 'x', '{}', 'a')")

    found = depth(reader)

    assert {name: (row.pending, row.dead, row.lanes) for name, row in found.items()} == {
        "empty": (0, 1, 0),
        "keyless": (2, 0, 1),
    }


def test_the_oldest_that_could_run_is_no_message_that_waits_for_its_time_or_a_worker(
    connections: Connections, reader: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for session in (connection, reader):
        session.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    enqueue_backing_off(connection, worker_id, "a", "blocks")
    enqueue(connection, "a", "behind")
    enqueue_backing_off(connection, worker_id, None, "backs off")
    enqueue(connection, "b", "claimed")
    assert len(claim(connection, worker_id)) == 1
    enqueue(connection, "b", "behind")
    enqueue(connection, None, "scheduled", p_scheduled_at="2026-01-01T00:20:00Z")
    reader.execute(SET_NOW, ["2026-01-01T00:10:00Z"])
    assert oldest(reader) is None

    connection.execute(SET_NOW, ["2026-01-01T00:09:00Z"])
    enqueue(connection, "c", "free")
    assert oldest(reader) == timedelta(minutes=1)

    reader.execute(SET_NOW, ["2026-01-01T00:25:00Z"])
    assert oldest(reader) == timedelta(minutes=16)
    # The retries came due after an hour, and what waited behind one of them may run as well.
    reader.execute(SET_NOW, ["2026-01-01T01:05:00Z"])
    assert oldest(reader) == timedelta(minutes=65)


@pytest.mark.parametrize("key", ["a", None])
def test_a_message_that_was_scheduled_is_late_from_its_time_on(
    worker: SyncConnection, reader: SyncConnection, key: str | None
) -> None:
    worker.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    enqueue(worker, key, 1, p_scheduled_at="2026-01-02T00:00:00Z")
    reader.execute(SET_NOW, ["2026-01-02T00:03:00Z"])
    assert oldest(reader) == timedelta(minutes=3)


def test_a_head_that_backs_off_blocks_its_key(
    connections: Connections, reader: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    reader.execute(SET_NOW, ["2026-01-01T00:30:00Z"])
    head = enqueue_backing_off(connection, worker_id, "a", 1)
    enqueue(connection, "a", 2, p_inbox_id=3)
    enqueue(connection, "free", 1)

    (found,) = blocked(reader)

    assert (found.queue, found.tenant_id, found.ordering_key) == ("outbound", "t1", "a")
    assert (found.head_id, found.head_status, found.waiting) == (head, "retrying", 2)
    assert found.reason == "retrying until 2026-01-01T01:00:00.000Z: busy"
    assert (found.retry_count, found.last_error) == (1, "busy")
    assert found.ready_at == value(connection, "select chatsync.now() + interval '1 h'")
    reader.execute(SET_NOW, ["2026-01-01T01:30:00Z"])
    assert blocked(reader) == []


def test_a_worker_blocks_the_keys_that_it_has_where_more_waits(
    connections: Connections, reader: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    head = enqueue(connection, "a", 1)
    enqueue(connection, "b", 1)
    claimed = claim(connection, worker_id)
    assert blocked(reader) == []
    enqueue(connection, "a", 2)

    (found,) = blocked(reader)

    assert (found.head_id, found.head_status, found.waiting) == (head, "processing", 2)
    assert found.reason == f"held by worker {worker_id} since 2026-01-01T00:00:00.000Z"
    assert found.ready_at is None
    settle(connection, claimed)
    assert blocked(reader) == []


def test_what_a_dead_worker_held_is_suspect(
    connections: Connections, reader: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    doomed, doomed_id = register(connections)
    head = enqueue(connection, "a", 1)
    assert len(claim(doomed, doomed_id)) == 1
    doomed.close()
    reap_until_freed(connection)

    (found,) = blocked(reader)

    assert (found.head_id, found.head_status, found.waiting) == (head, "pending", 1)
    assert found.reason == "suspect: its worker died; claimed alone"
    settle(connection, claim(connection, worker_id))
    assert blocked(reader) == []


def test_a_lane_that_lost_its_turn_is_told(
    worker: SyncConnection, owner: SyncConnection, reader: SyncConnection
) -> None:
    enqueue(worker, "a", 1)
    owner.execute("delete from chatsync.lane_turns")

    (found,) = blocked(reader)

    assert found.reason == "without a turn: the next sweep gives it one"
    worker.execute("select chatsync.sweep_lanes()")
    assert blocked(reader) == []


def test_workers_are_shown_with_what_they_have(
    connections: Connections, owner: SyncConnection, reader: SyncConnection
) -> None:
    busy, busy_id = register(connections)
    idle, idle_id = register(connections)
    busy.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    for key in ("a", "a", None):
        enqueue(busy, key, 1)
    claim(busy, busy_id)

    first, second = rows(reader, "select * from chatsync.queue_workers order by worker_id")

    assert (first.worker_id, first.name, first.is_alive, first.messages) == (
        busy_id,
        "test",
        True,
        3,
    )
    assert first.oldest_claim == value(busy, "select chatsync.now()")
    assert first.lease_until is not None
    assert (second.worker_id, second.messages, second.oldest_claim) == (idle_id, 0, None)
    # Without its session lock a worker is as good as dead, however long its lease.
    idle.execute("select pg_advisory_unlock_all()")
    alive = rows(owner, "select worker_id from chatsync.queue_workers where is_alive")
    assert [row.worker_id for row in alive] == [busy_id]


@pytest.mark.parametrize("view", ["queue_blocked", "queue_depth", "queue_workers"])
@pytest.mark.parametrize("role", ["chatsync_operator", "chatsync_reader", "chatsync_worker"])
def test_each_view_shows_all_tenants_to_who_may_look(
    connections: Connections, worker: SyncConnection, view: str, role: Any
) -> None:
    connection, worker_id = register(connections)
    for tenant in ("t1", "t2"):
        for _ in range(2):
            worker.execute("select chatsync.enqueue('outbound', %s, 'x', '{}', 'a')", [tenant])
    assert len(claim(connection, worker_id, limit=1)) == 1
    connection.execute("begin")
    shown = connections.open(role).execute(f"select * from chatsync.{view}".encode()).fetchall()
    connection.execute("commit")
    assert len(shown) == 1
    if view == "queue_depth":
        assert depth(worker)["outbound"].pending == 3

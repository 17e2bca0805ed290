"""Looks that begin at a low water see all that is there, whoever commits late."""

import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import claim, count, enqueue, labels, register, settle, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

LATER = "select set_config('chatsync.now', (now() + interval '1 hour')::text, false)"
PUBLISH = "select chatsync.publish('t1', array['tenant:t1'], 'test', '{}')"


def raised(owner: SyncConnection, name: str) -> int:
    """The low water after two more looks; time does not count."""
    for _ in range(2):
        owner.execute("update chatsync.low_waters set raised_at = '-infinity'")
        owner.execute("select chatsync.raise_low_water(%s)", [name])
    return value(owner, "select chatsync.low_water(%s)", [name])


def begin(connections: Connections) -> SyncConnection:
    connection = connections.open("chatsync_worker")
    connection.execute("begin")
    return connection


def test_it_passes_what_has_ended(worker: SyncConnection, owner: SyncConnection) -> None:
    last = enqueue(worker, None, "done")

    assert value(owner, "select chatsync.low_water('messages')") == 0
    assert raised(owner, "messages") == last + 1


def test_it_waits_for_who_has_drawn_an_id_and_for_nobody_else(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    stranger = begin(connections)
    stranger.execute("select pg_current_xact_id()")
    drawn = connections.open("chatsync_owner")
    drawn.execute("begin")
    first = value(drawn, "select nextval('chatsync.message_queue_id_seq')")
    last = enqueue(worker, None, "later")

    assert raised(owner, "messages") <= first
    assert raised(owner, "messages") <= first
    drawn.execute("commit")
    assert raised(owner, "messages") == last + 1


def test_it_starts_again_with_its_sequence(worker: SyncConnection, owner: SyncConnection) -> None:
    for label in range(3):
        enqueue(worker, None, label)
    raised(owner, "messages")
    owner.execute("alter sequence chatsync.message_queue_id_seq restart")

    assert raised(owner, "messages") <= 1


def test_an_event_that_is_committed_late_is_numbered(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    late = begin(connections)
    late.execute(PUBLISH)
    worker.execute(PUBLISH)
    for _ in range(3):
        raised(owner, "outbox")
        worker.execute("select chatsync.stamp()")
    assert value(owner, "select chatsync.outbox_waiting()") is False
    late.execute("commit")

    assert value(owner, "select chatsync.outbox_waiting()") is True
    assert value(worker, "select chatsync.stamp()") == {"t1": 2}
    assert count(owner, "outbox") == 0
    assert raised(owner, "outbox") == 3


def test_what_is_not_numbered_holds_the_low_water_of_events(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    for _ in range(3):
        worker.execute(PUBLISH)
    worker.execute("select chatsync.stamp(1)")

    assert raised(owner, "outbox") == 2


def test_a_dead_workers_claim_that_is_committed_late_is_freed(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    connection.execute("begin")
    claim(connection, worker_id)
    owner.execute("delete from chatsync.workers")
    other, other_id = register(connections)
    enqueue(other, "b", 2)
    settle(other, claim(other, other_id))
    raised(owner, "leases")
    connection.execute("commit")

    assert raised(owner, "leases") == 1
    assert value(other, "select chatsync.reap()") == 1
    assert raised(owner, "leases") == 3


def test_a_message_that_becomes_due_is_found_behind_where_its_lane_is(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    due = value(owner, "select now() + interval '30 min'")
    enqueue(connection, "a", "due", p_scheduled_at=due)
    for label in ("first", "second"):
        enqueue(connection, "a", label)
    settle(connection, claim(connection, worker_id, limit=1))
    assert value(owner, "select from_id from chatsync.lane_turns") == 3

    connection.execute(LATER)
    assert labels(claim(connection, worker_id)) == ["due", "second"]


def test_a_message_that_is_moved_is_found_behind_where_its_lane_is(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "moved")
    owner.execute("select chatsync.move_messages('outbound', 'other')")
    for label in ("first", "second"):
        enqueue(connection, "a", label)
    settle(connection, claim(connection, worker_id, limit=1))
    owner.execute("select chatsync.move_messages('other', 'outbound')")

    assert labels(claim(connection, worker_id)) == ["moved", "second"]


def test_a_late_entry_is_forgotten_when_its_lane_is_let_go(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    due = value(owner, "select now() + interval '30 min'")
    enqueue(connection, "a", "due", p_scheduled_at=due)
    connection.execute(LATER)
    claimed = claim(connection, worker_id)
    assert count(owner, "late_entries") == 1
    settle(connection, claimed)

    assert count(owner, "late_entries") == count(owner, "queue_lanes") == 0


def test_an_id_that_was_drawn_before_the_lane_moved_on_is_found(
    connections: Connections, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    connection.execute("begin")
    connection.execute("select from chatsync.queue_lanes for update")
    waiting = connections.open("chatsync_worker")
    enqueueing = stepper.start_and_wait(
        waiting,
        "select chatsync.enqueue('outbound', 't1', 'x', '{\"label\": \"second\"}', 'a')",
    )
    enqueue(connection, "a", "third")
    settle(connection, claimed)
    connection.execute("commit")
    enqueueing.result()

    assert labels(claim(connection, worker_id)) == ["second", "third"]


def test_a_producer_of_a_lane_that_is_let_go_meanwhile_is_not_passed(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for label in ("first", "second"):
        enqueue(connection, "a", label)
    producer = begin(connections)
    enqueue(producer, "a", "third")
    enqueue(connection, "a", "fourth")
    settle(connection, claim(connection, worker_id, limit=2))
    raised(owner, "messages")
    settle(connection, claim(connection, worker_id, limit=1))
    producer.execute("commit")

    assert labels(claim(connection, worker_id)) == ["third"]


def test_a_turn_that_says_too_much_is_mended_by_the_next_looks(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    owner.execute("update chatsync.lane_turns set from_id = 1000")

    assert claim(connection, worker_id) == []
    assert value(connection, "select chatsync.sweep_lanes()") == 1
    assert labels(claim(connection, worker_id)) == ["first"]

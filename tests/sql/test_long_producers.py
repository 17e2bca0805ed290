"""Producers whose transactions stay open in a lane, while all others do something to it.

Whoever ends or moves the last message that is seen must neither wait for them nor strand what they
commit later; who puts something into a lane that is about to go must find or make it.
"""

from typing import LiteralString

import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import assert_all_come, cancel, enqueue_backing_off, retry, waiting
from sql.queue_calls import (
    claim,
    count,
    enqueue,
    labels,
    reap_until_freed,
    register,
    settle,
    value,
)
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

MOVE: LiteralString = "select chatsync.move_messages('outbound', 'parked')"
PURGE: LiteralString = "select chatsync.purge_queue('outbound')"
SWEEP: LiteralString = "select chatsync.sweep_lanes()"
RELEASE: LiteralString = "select chatsync.release(%s)"


@pytest.fixture
def consumer(connections: Connections) -> tuple[SyncConnection, int]:
    """A worker and its id."""
    return register(connections)


@pytest.fixture
def producer(connections: Connections) -> SyncConnection:
    """In a transaction that a test ends."""
    producer = connections.open("chatsync_worker")
    producer.execute("begin")
    return producer


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    """One who waits for nobody."""
    operator = connections.open("chatsync_operator")
    operator.execute("set lock_timeout = '100ms'")
    return operator


@pytest.mark.parametrize("is_undone", [False, True], ids=["commits", "undone"])
def test_a_purge_of_all_that_is_seen_strands_nothing(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    operator: SyncConnection,
    owner: SyncConnection,
    is_undone: bool,
) -> None:
    enqueue(owner, "a", "purged")
    enqueue(producer, "a", "late")

    assert value(operator, PURGE) == 1
    producer.execute("rollback" if is_undone else "commit")

    assert_all_come(consumer, owner, [] if is_undone else ["late"])


@pytest.mark.parametrize("is_undone", [False, True], ids=["commits", "undone"])
def test_a_move_leaves_what_is_enqueued_meanwhile_in_its_queue(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    operator: SyncConnection,
    owner: SyncConnection,
    is_undone: bool,
) -> None:
    moved = enqueue(owner, "a", "moved")
    enqueue(producer, "a", "late")

    assert value(operator, MOVE) == 1
    producer.execute("rollback" if is_undone else "commit")

    assert waiting(owner, "parked") == [moved]
    assert value(operator, "select chatsync.purge_queue('parked')") == 1
    assert_all_come(consumer, owner, [] if is_undone else ["late"])


@pytest.mark.parametrize("is_undone", [False, True], ids=["commits", "undone"])
def test_a_cancellation_of_the_last_that_is_seen_strands_nothing(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    operator: SyncConnection,
    owner: SyncConnection,
    is_undone: bool,
) -> None:
    message_id = enqueue(owner, "a", "cancelled")
    enqueue(producer, "a", "late")

    assert cancel(operator, message_id)
    producer.execute("rollback" if is_undone else "commit")

    assert_all_come(consumer, owner, [] if is_undone else ["late"])


def test_a_retry_runs_now_in_a_lane_that_a_producer_holds(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    operator: SyncConnection,
    owner: SyncConnection,
) -> None:
    message_id = enqueue_backing_off(*consumer, "a", "retried")
    enqueue(producer, "a", "late")

    assert retry(operator, message_id)
    assert labels(claim(*consumer)) == ["retried"]
    producer.execute("commit")
    assert claim(*consumer) == []


def test_what_is_released_in_a_lane_that_a_producer_holds_runs_first(
    consumer: tuple[SyncConnection, int], producer: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = consumer
    connection.execute("set lock_timeout = '100ms'")
    enqueue(owner, "a", "released")
    (claimed,) = claim(connection, worker_id)
    enqueue(producer, "a", "late")

    connection.execute(RELEASE, [claimed.lease_id])
    producer.execute("commit")

    assert_all_come(consumer, owner, ["released", "late"])


def test_a_producer_waits_for_no_more_than_the_end_of_a_release(
    consumer: tuple[SyncConnection, int],
    connections: Connections,
    owner: SyncConnection,
    stepper: Stepper,
) -> None:
    connection, worker_id = consumer
    enqueue(owner, "a", "released")
    (claimed,) = claim(connection, worker_id)
    connection.execute("begin")
    connection.execute(RELEASE, [claimed.lease_id])
    other = connections.open("chatsync_worker")
    running = stepper.start(
        other,
        "select chatsync.enqueue('outbound', 't1', 'test', '{\"label\": \"late\"}',"
        " p_ordering_key => 'a')",
    )
    stepper.until_waiting_or_done(other, running)
    connection.execute("commit")
    running.result()

    assert_all_come(consumer, owner, ["released", "late"])


def test_what_a_dead_worker_held_is_freed_in_a_lane_that_a_producer_holds(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    connections: Connections,
    owner: SyncConnection,
) -> None:
    dead, dead_id = register(connections)
    enqueue(owner, "a", "freed")
    claim(dead, dead_id)
    enqueue(producer, "a", "late")
    dead.close()
    consumer[0].execute("set lock_timeout = '100ms'")

    assert reap_until_freed(consumer[0]) == 1
    producer.execute("commit")

    assert_all_come(consumer, owner, ["freed", "late"])


def test_a_sweep_leaves_a_lane_that_a_producer_holds(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    connections: Connections,
    owner: SyncConnection,
) -> None:
    enqueue(producer, "a", "first")
    sweeper = connections.open("chatsync_worker")
    sweeper.execute("set lock_timeout = '100ms'")

    assert value(sweeper, SWEEP) == 0
    producer.execute("commit")
    producer.execute("begin")
    claimed = claim(*consumer)
    enqueue(producer, "a", "second")
    settle(consumer[0], claimed)
    assert value(sweeper, SWEEP) == 0
    producer.execute("commit")

    assert_all_come(consumer, owner, ["second"])


def test_a_lane_whose_producer_gave_up_is_swept(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    worker: SyncConnection,
    owner: SyncConnection,
) -> None:
    enqueue(owner, "a", "first")
    claimed = claim(*consumer)
    enqueue(producer, "a", "second")
    settle(consumer[0], claimed)
    producer.execute("rollback")

    assert value(worker, SWEEP) == 1
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 0


def test_settling_some_of_a_lease_leaves_no_turn_behind_for_a_producer_that_gives_up(
    consumer: tuple[SyncConnection, int], producer: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = consumer
    connection.execute("set lock_timeout = '100ms'")
    for key in ("a", "b"):
        enqueue(owner, key, key)
    first, second = claim(connection, worker_id)
    enqueue(producer, "a", "late")
    some: LiteralString = "select chatsync.settle_some(%s, %s)"
    connection.execute(some, [first.lease_id, [first.id]])
    producer.execute("rollback")
    connection.execute(some, [first.lease_id, [second.id]])

    assert_all_come(consumer, owner, [])


def test_a_producer_that_commits_between_two_parts_of_a_lease_is_next(
    consumer: tuple[SyncConnection, int],
    producer: SyncConnection,
    connections: Connections,
    owner: SyncConnection,
) -> None:
    connection, worker_id = consumer
    other, other_id = register(connections)
    for number in range(2):
        enqueue(owner, "a", number)
    first, second = claim(connection, worker_id)
    enqueue(producer, "a", "late")
    some: LiteralString = "select chatsync.settle_some(%s, %s)"
    connection.execute(some, [first.lease_id, [first.id]])
    producer.execute("commit")
    assert claim(other, other_id) == []
    assert value(connection, some, [first.lease_id, [second.id]]) is True

    assert labels(claim(other, other_id)) == ["late"]

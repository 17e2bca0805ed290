"""Redriving and moving beside producers and settlements, step by step."""

from typing import LiteralString

import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import assert_all_come, assert_no_lane_is_stranded, cancel, waiting
from sql.queue_calls import claim, count, enqueue, register, settle
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

MOVE: LiteralString = "select chatsync.move_messages('outbound', 'parked')"
REDRIVE: LiteralString = "select * from chatsync.redrive('outbound')"


@pytest.fixture
def consumer(connections: Connections) -> tuple[SyncConnection, int]:
    """A worker and its id."""
    return register(connections)


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def test_a_redrive_into_a_lane_that_is_being_deleted_makes_a_new_one(
    consumer: tuple[SyncConnection, int],
    connections: Connections,
    owner: SyncConnection,
    stepper: Stepper,
) -> None:
    connection, worker_id = consumer
    operator = connections.open("chatsync_operator")
    cancel(operator, enqueue(owner, "a", "redriven"))
    enqueue(owner, "a", "settled")
    claimed = claim(connection, worker_id)
    connection.execute("begin")
    settle(connection, claimed)
    redriving = stepper.start_and_wait(operator, REDRIVE)
    connection.execute("commit")

    assert len(redriving.result()) == 1
    assert count(owner, "failed_messages") == 0
    assert_all_come(consumer, owner, ["redriven"])


def test_a_lane_goes_on_that_a_redrive_holds_when_its_last_message_is_settled(
    consumer: tuple[SyncConnection, int], connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = consumer
    connection.execute("set lock_timeout = '100ms'")
    operator = connections.open("chatsync_operator")
    cancel(operator, enqueue(owner, "a", "redriven"))
    enqueue(owner, "a", "settled")
    claimed = claim(connection, worker_id)
    operator.execute("begin")
    assert len(operator.execute(REDRIVE).fetchall()) == 1
    settle(connection, claimed)
    operator.execute("commit")

    assert_all_come(consumer, owner, ["redriven"])


def test_a_cancellation_and_a_redrive_of_one_key_wait_for_each_other_at_most_once(
    consumer: tuple[SyncConnection, int],
    connections: Connections,
    owner: SyncConnection,
    stepper: Stepper,
) -> None:
    operator, other = (connections.open("chatsync_operator") for _ in range(2))
    cancel(operator, enqueue(owner, "a", "redriven"))
    message_id = enqueue(owner, "a", "cancelled")
    operator.execute("begin")
    cancel(operator, message_id)
    redriving = stepper.start_and_wait(
        other, "select * from chatsync.redrive(p_error_like => '%%')"
    )
    operator.execute("commit")

    # The second letter was not there yet when it looked.
    assert len(redriving.result()) == 1
    assert count(owner, "failed_messages") == 1
    assert_all_come(consumer, owner, ["redriven"])


def test_a_move_leaves_what_is_enqueued_there_meanwhile_under_its_dedupe_key(
    connections: Connections,
    operator: SyncConnection,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
) -> None:
    stays = [
        enqueue(worker, "a", "twice", p_dedupe_key="d"),
        enqueue(worker, "a", "behind it"),
        enqueue(worker, None, "twice", p_dedupe_key="e"),
    ]
    enqueue(worker, "b", "moves")
    producer = connections.open("chatsync_worker")
    producer.execute("begin")
    for key in ("d", "e"):
        producer.execute(
            "select chatsync.enqueue('parked', 't1', 'test', '{}', p_dedupe_key => %s)", [key]
        )
    moving = stepper.start_and_wait(operator, MOVE)
    producer.execute("commit")

    assert moving.result() == [(1,)]
    assert waiting(owner) == stays
    assert_no_lane_is_stranded(owner)


def test_a_move_and_a_producer_that_meet_the_same_dedupe_keys_do_not_deadlock(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    producer = connections.open("chatsync_worker")
    for dedupe_key in ("e", "d", None):
        enqueue(producer, dedupe_key, 1, p_dedupe_key=dedupe_key)
    there = "select chatsync.enqueue('parked', 't1', 'test', '{}', p_dedupe_key => %s)"
    producer.execute("begin")
    producer.execute(there, ["d"])
    moving = stepper.start_and_wait(operator, MOVE)
    producer.execute(there, ["e"])
    producer.execute("commit")

    assert moving.result() == [(1,)]
    assert len(waiting(owner)) == 2

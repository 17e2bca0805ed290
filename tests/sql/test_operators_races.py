"""Operators and workers at once, step by step: nobody waits for ever, nothing is stranded."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import (
    CANCEL,
    RETRY,
    assert_no_lane_is_stranded,
    cancel,
    enqueue_backing_off,
    rows,
    waiting,
)
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

PURGE = "select chatsync.purge_queue('outbound')"
MOVE = "select chatsync.move_messages('outbound', 'parked')"
REDRIVE = "select * from chatsync.redrive('outbound')"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def test_a_cancellation_waits_for_a_claim_and_is_refused_when_it_took_the_message(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, "a", 1)
    connection.execute("begin")
    claimed = claim(connection, worker_id)
    cancelling = stepper.start_and_wait(operator, CANCEL, [message_id, "why"])
    connection.execute("commit")

    with pytest.raises(psycopg.DatabaseError, match="in the hands of a worker"):
        cancelling.result()
    settle(connection, claimed)
    assert count(owner, "message_queue") == count(owner, "queue_lanes") == 0


def test_a_cancellation_goes_on_when_the_claim_is_undone(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, "a", 1)
    connection.execute("begin")
    claim(connection, worker_id)
    cancelling = stepper.start_and_wait(operator, CANCEL, [message_id, "why"])
    connection.execute("rollback")

    assert cancelling.result() == [(True,)]
    assert count(owner, "message_queue") == count(owner, "queue_lanes") == 0


def test_a_claim_passes_a_lane_in_which_something_is_being_cancelled(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute("set lock_timeout = '100ms'")
    message_id = enqueue(connection, "a", "cancelled")
    enqueue(connection, "a", "next")
    enqueue(connection, "b", "other key")
    operator.execute("begin")
    cancel(operator, message_id)

    assert labels(claim(connection, worker_id)) == ["other key"]
    operator.execute("commit")
    assert labels(claim(connection, worker_id)) == ["next"]


def test_a_keyless_message_that_is_being_claimed_is_refused_without_waiting(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, None, 1)
    connection.execute("begin")
    claim(connection, worker_id)

    with pytest.raises(psycopg.DatabaseError, match="in the hands of a worker"):
        cancel(operator, message_id)
    connection.execute("commit")


@pytest.mark.parametrize("call", [CANCEL, RETRY])
def test_what_a_settlement_puts_off_is_changed_right_after_it(
    connections: Connections,
    operator: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    call: str,
) -> None:
    # The settlement replaces the turn for which the operator waits.
    connection, worker_id = register(connections)
    first = enqueue(connection, "a", "first")
    enqueue(connection, "a", "second")
    claimed = claim(connection, worker_id, limit=1)
    connection.execute("begin")
    settle(
        connection, claimed, done=[],
        failed=[{"id": first, "error": "busy", "retryAfterSeconds": 3600}],
    )  # fmt: skip
    changing = stepper.start_and_wait(operator, CANCEL if call == CANCEL else RETRY,
        [first, "why"][: call.count("%s")])  # fmt: skip
    connection.execute("commit")

    assert changing.result() == [(True,)]
    expected = ["second"] if call == CANCEL else ["first", "second"]
    assert labels(claim(connection, worker_id)) == expected
    assert_no_lane_is_stranded(owner)


def test_a_turn_that_was_replaced_while_it_was_waited_for_is_looked_for_again(
    connections: Connections, operator: SyncConnection, worker: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    first = enqueue_backing_off(connection, worker_id, "a", "first")
    enqueue(connection, "a", "second")
    # As a claim does that finds nothing, or another operator.
    worker.execute("begin")
    worker.execute("select from chatsync.lane_turns for update")
    cancelling = stepper.start_and_wait(operator, CANCEL, [first, "why"])
    worker.execute("select chatsync.let_lanes_go(array['outbound/t1/a'])")
    worker.execute("commit")

    assert cancelling.result() == [(True,)]
    assert labels(claim(connection, worker_id)) == ["second"]


def test_a_settlement_waits_for_a_cancellation_behind_its_batch_and_the_next_claim_ends_the_lane(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    second = enqueue(connection, "a", "second")
    (claimed,) = claim(connection, worker_id, limit=1)
    operator.execute("begin")
    cancel(operator, second)
    settling = stepper.start_and_wait(
        connection, "select chatsync.settle(%s, %s)", [claimed.lease_id, [claimed.id]]
    )
    operator.execute("commit")

    # Who held the lane may have put something into it: it is to be looked at again.
    assert settling.result() == [(True,)]
    assert claim(connection, worker_id) == []
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 0


def test_a_producer_that_meets_the_cancellation_of_the_last_message_makes_a_new_lane(
    connections: Connections, operator: SyncConnection, worker: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, "a", "cancelled")
    operator.execute("begin")
    cancel(operator, message_id)
    enqueueing = stepper.start_and_wait(
        worker,
        "select chatsync.enqueue('outbound', 't1', 'test', '{\"label\": \"new\"}',"
        " p_ordering_key => 'a')",
    )
    operator.execute("commit")
    enqueueing.result()

    assert labels(claim(connection, worker_id)) == ["new"]


def test_a_producer_that_came_before_a_cancellation_keeps_its_lane(
    connections: Connections, operator: SyncConnection, worker: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    operator.execute("set lock_timeout = '100ms'")
    message_id = enqueue_backing_off(connection, worker_id, "a", "cancelled")
    worker.execute("begin")
    enqueue(worker, "a", "new")

    assert cancel(operator, message_id) is True
    worker.execute("commit")

    assert labels(claim(connection, worker_id)) == ["new"]


def test_two_operators_cancel_a_message_once(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue_backing_off(connection, worker_id, "a", 1)
    other = connections.open("chatsync_operator")
    operator.execute("begin")
    cancel(operator, message_id)
    cancelling = stepper.start_and_wait(other, CANCEL, [message_id, "again"])
    operator.execute("commit")

    assert cancelling.result() == [(False,)]
    assert count(owner, "failed_messages") == 1
    assert count(owner, "queue_lanes") == 0


@pytest.mark.parametrize("call", [PURGE, MOVE])
def test_many_messages_are_changed_without_waiting_for_a_claim(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, call: str
) -> None:
    connection, worker_id = register(connections)
    operator.execute("set lock_timeout = '100ms'")
    for key in ("a", "b", None):
        enqueue(connection, key, key)
    connection.execute("begin")
    assert labels(claim(connection, worker_id, limit=1)) == ["a"]

    # A claim looks at more lanes than it takes in the end.
    assert operator.execute(call.encode()).fetchall() == [(1,)]
    connection.execute("commit")
    assert operator.execute(call.encode()).fetchall() == [(1,)]
    assert operator.execute(call.encode()).fetchall() == [(0,)]

    assert value(owner, "select count(*) from chatsync.message_queue where queue = 'outbound'") == 1
    assert_no_lane_is_stranded(owner)


def test_a_claim_waits_for_no_purge_and_no_move(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute("set lock_timeout = '100ms'")
    for key in ("a", None):
        enqueue(connection, key, key)
    for call in (PURGE, MOVE):
        operator.execute("begin")
        operator.execute(call.encode())
        assert claim(connection, worker_id) == []
        operator.execute("rollback")

    assert labels(claim(connection, worker_id)) == ["a", None]


def test_a_purge_beside_a_settlement_strands_nothing(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    operator.execute("set lock_timeout = '100ms'")
    enqueue(connection, "a", "first")
    enqueue(connection, "a", "second")
    claimed = claim(connection, worker_id, limit=1)
    connection.execute("begin")
    settle(connection, claimed)

    assert operator.execute(PURGE.encode()).fetchall() == [(0,)]
    connection.execute("commit")
    assert operator.execute(PURGE.encode()).fetchall() == [(1,)]

    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 0


def test_a_dead_letter_is_redriven_once_by_two_operators(
    connections: Connections,
    operator: SyncConnection,
    worker: SyncConnection,
    owner: SyncConnection,
) -> None:
    other = connections.open("chatsync_operator")
    other.execute("set lock_timeout = '100ms'")
    cancel(operator, enqueue(worker, "a", 1))
    operator.execute("begin")
    assert len(operator.execute(REDRIVE.encode()).fetchall()) == 1

    assert other.execute(REDRIVE.encode()).fetchall() == []
    assert value(other, "select chatsync.purge_dead_letters('outbound')") == 0
    operator.execute("commit")

    assert len(waiting(owner, QUEUE)) == 1
    assert rows(owner, "select * from chatsync.failed_messages") == []

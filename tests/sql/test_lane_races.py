"""Lanes between transactions, step by step: who waits for whom, and that nothing is stranded."""

import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

HOLD_LANES = (
    "select chatsync.hold_lanes(%s, array['t1', 't1'], array[null, null]::bigint[], %s,"
    " array[0, 0]::smallint[])"
)
ENQUEUE = "select chatsync.enqueue('outbound', 't1', 'test', %s, p_ordering_key => %s)"


def open_without_waiting(connections: Connections) -> SyncConnection:
    """A worker's connection whose statements fail where they would wait for a lock."""
    connection = connections.open("chatsync_worker")
    connection.execute("set lock_timeout = '100ms'")
    return connection


def test_settling_waits_for_no_producer_and_strands_nothing(connections: Connections) -> None:
    connection, worker_id = register(connections)
    connection.execute("set lock_timeout = '100ms'")
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    producer = connections.open("chatsync_worker")
    producer.execute("begin")
    enqueue(producer, "a", "second")

    settle(connection, claimed)
    assert claim(connection, worker_id) == []
    producer.execute("commit")

    assert labels(claim(connection, worker_id)) == ["second"]


def test_a_settlement_looks_again_where_a_producer_may_commit_before_it(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    producer = connections.open("chatsync_worker")
    producer.execute("begin")
    enqueue(producer, "a", "second")

    connection.execute("begin")
    settling = "select chatsync.settle(%s, %s)"
    has_more = value(connection, settling, [claimed[0].lease_id, [claimed[0].id]])
    producer.execute("commit")
    # Whoever is woken by the producer finds the lane taken.
    assert claim(other, other_id) == []
    connection.execute("commit")

    assert has_more is True
    assert labels(claim(connection, worker_id)) == ["second"]


def test_a_lane_whose_producer_changes_its_mind_goes_at_the_next_claim(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    producer = connections.open("chatsync_worker")
    producer.execute("begin")
    enqueue(producer, "a", "second")
    settle(connection, claimed)
    producer.execute("rollback")

    assert claim(connection, worker_id) == []
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 0


def test_a_producer_that_meets_a_lane_being_deleted_makes_a_new_one(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    producer = connections.open("chatsync_worker")
    connection.execute("begin")
    settle(connection, claimed)
    enqueueing = stepper.start_and_wait(producer, ENQUEUE, ['{"label": "second"}', "a"])
    connection.execute("commit")

    assert len(enqueueing.result()) == 1
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 1
    assert labels(claim(connection, worker_id)) == ["second"]


def test_a_producer_that_meets_a_deletion_that_is_undone_keeps_the_lane(
    connections: Connections, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    claimed = claim(connection, worker_id)
    producer = connections.open("chatsync_worker")
    connection.execute("begin")
    settle(connection, claimed)
    enqueueing = stepper.start_and_wait(producer, ENQUEUE, ['{"label": "second"}', "a"])
    connection.execute("rollback")
    enqueueing.result()

    assert claim(connection, worker_id) == []
    settle(connection, claimed)
    assert labels(claim(connection, worker_id)) == ["second"]


def test_an_inbox_without_work_gets_a_turn_from_a_producer_that_met_its_settling(
    connections: Connections, worker: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    inbox = value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')")
    deliver = "select chatsync.enqueue_deliveries(array[%s::bigint], array['c'], array['x'::bytea])"
    claim_inbound = "select lease_id, id from chatsync.claim('inbound', %s, 10)"
    worker.execute(deliver, [inbox])
    ((lease, first),) = connection.execute(claim_inbound, [worker_id]).fetchall()
    connection.execute("begin")
    connection.execute("select chatsync.settle(%s, array[%s::bigint])", [lease, first])
    delivering = stepper.start_and_wait(worker, deliver, [inbox])
    connection.execute("commit")
    delivering.result()

    assert len(connection.execute(claim_inbound, [worker_id]).fetchall()) == 1


def test_producers_that_make_the_same_lanes_in_opposite_order_do_not_deadlock(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    first, second = connections.open("chatsync_worker"), connections.open("chatsync_worker")
    first.execute("begin")
    first.execute(HOLD_LANES, [QUEUE, ["b", "a"]])
    holding = stepper.start_and_wait(second, HOLD_LANES, [QUEUE, ["a", "b"]])
    first.execute("commit")

    holding.result()
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 2


def test_making_lanes_waits_for_the_first_by_name_whatever_the_order_of_the_messages(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    # With another lock order the second producer would hold b while it waits for a.
    first, second, third = (connections.open("chatsync_worker") for _ in range(3))
    first.execute("begin")
    first.execute(HOLD_LANES, [QUEUE, ["a", "a"]])
    holding = stepper.start_and_wait(second, HOLD_LANES, [QUEUE, ["b", "a"]])

    third.execute("set lock_timeout = '100ms'")
    enqueue(third, "b", "not in the way")
    first.execute("rollback")
    holding.result()
    assert count(owner, "queue_lanes") == 2


def test_a_producer_of_other_keys_waits_for_nobody(connections: Connections) -> None:
    producer = connections.open("chatsync_worker")
    other = open_without_waiting(connections)
    with producer.transaction():
        enqueue(producer, "a", 1)
        enqueue(other, "b", 1)
        enqueue(other, None, 1)


def test_producers_of_a_lane_that_exists_do_not_wait_for_each_other(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "0")
    producer = connections.open("chatsync_worker")
    other = open_without_waiting(connections)
    producer.execute("begin")
    enqueue(producer, "a", "1")
    enqueue(other, "a", "2")
    producer.execute("commit")

    assert labels(claim(connection, worker_id)) == ["0", "1", "2"]


def test_a_duplicate_waits_for_the_first_and_gets_its_id(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    first, second = connections.open("chatsync_worker"), connections.open("chatsync_worker")
    first.execute("begin")
    first_id = enqueue(first, None, 1, p_dedupe_key="d")
    duplicate = "select chatsync.enqueue('outbound', 't1', 'test', '{}', p_dedupe_key => 'd')"
    running = stepper.start_and_wait(second, duplicate)
    first.execute("commit")

    assert running.result() == [(first_id,)]
    assert count(owner, "message_queue") == 1


def test_a_duplicate_of_what_is_undone_takes_its_place(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    first, second = connections.open("chatsync_worker"), connections.open("chatsync_worker")
    first.execute("begin")
    enqueue(first, "a", 1, p_dedupe_key="d")
    duplicate = (
        "select chatsync.enqueue("
        "'outbound', 't1', 'test', '{}', p_ordering_key => 'a', p_dedupe_key => 'd')"
    )
    running = stepper.start_and_wait(second, duplicate)
    first.execute("rollback")

    running.result()
    assert count(owner, "message_queue") == count(owner, "lane_turns") == 1

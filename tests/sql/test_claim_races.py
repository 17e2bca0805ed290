"""Claims, settles and reapers at once, step by step."""

from datetime import timedelta

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")


def test_a_claim_passes_what_another_claim_holds(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    other.execute("set lock_timeout = '100ms'")
    enqueue(connection, "a", "a1")
    enqueue(connection, "b", "b1")
    enqueue(connection, None, "free 1")
    enqueue(connection, None, "free 2")

    connection.execute("begin")
    assert labels(claim(connection, worker_id, limit=1)) == ["a1"]
    assert labels(claim(other, other_id)) == ["free 1", "free 2"]
    connection.execute("commit")
    assert labels(claim(other, other_id)) == ["b1"]


def test_a_claim_that_is_undone_gives_its_lanes_back(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    enqueue(connection, "a", "a1")
    with connection.transaction(force_rollback=True):
        assert labels(claim(connection, worker_id)) == ["a1"]
        assert claim(other, other_id) == []
    assert labels(claim(other, other_id)) == ["a1"]


def test_what_one_worker_settles_another_claims_in_order_without_waiting(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    other.execute("set lock_timeout = '100ms'")
    for number in range(4):
        enqueue(connection, "a", number)
    claimed = claim(connection, worker_id, limit=2)
    connection.execute("begin")
    settle(connection, claimed)
    assert claim(other, other_id) == []
    connection.execute("commit")
    assert labels(claim(other, other_id)) == ["2", "3"]


def test_reaping_neither_waits_for_nor_frees_what_is_being_settled(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    reaper = connections.open("chatsync_worker")
    reaper.execute("set lock_timeout = '100ms'")
    enqueue(connection, "a", "settling")
    claimed = claim(connection, worker_id)
    connection.execute("begin")
    settle(connection, claimed)
    owner.execute("update chatsync.workers set lease_until = now() - interval '1 s'")

    assert value(reaper, "select chatsync.reap()") == 0
    connection.execute("commit")

    assert count(owner, "message_queue") == count(owner, "failed_messages") == 0
    assert value(reaper, "select chatsync.reap()") == 0
    assert count(owner, "workers") == 0


def test_settling_after_a_reaper_took_over_is_fenced(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    connection, worker_id = register(connections)
    reaper = connections.open("chatsync_worker")
    enqueue(connection, "a", "reaped")
    claimed = claim(connection, worker_id)
    owner.execute("update chatsync.workers set lease_until = now() - interval '1 s'")
    reaper.execute("begin")
    assert value(reaper, "select chatsync.reap()") == 1
    settling = stepper.start_and_wait(
        connection,
        "select chatsync.settle(%s, array[%s::bigint])",
        [claimed[0].lease_id, claimed[0].id],
    )
    reaper.execute("commit")

    with pytest.raises(psycopg.DatabaseError, match="lost"):
        settling.result()
    other, other_id = register(connections)
    assert labels(claim(other, other_id)) == ["reaped"]


def test_two_reapers_share_the_dead_and_neither_waits(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    reaper = connections.open("chatsync_worker")
    other = connections.open("chatsync_worker")
    other.execute("set lock_timeout = '100ms'")
    enqueue(connection, "a", 1)
    claim(connection, worker_id)
    owner.execute("update chatsync.workers set lease_until = now() - interval '1 s'")
    with reaper.transaction():
        assert value(reaper, "select chatsync.reap()") == 1
        assert value(other, "select chatsync.reap()") == 0
    assert value(other, "select chatsync.reap()") == 0
    assert value(owner, "select deaths from chatsync.message_queue") == 1


def test_claims_that_put_different_due_retries_in_line_do_not_deadlock(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    # Each promotes what the other one's first lanes hold; one round takes 16 lanes by priority.
    (first, first_id), (second, second_id) = register(connections), register(connections)
    enqueue(first, "low", 0)
    for number in range(16):
        enqueue(first, f"high {number}", 0, p_priority=5)
    claimed = claim(first, first_id)
    settle(
        first,
        claimed,
        done=[],
        failed=[
            {"id": row.id, "error": "x", "retryAfterSeconds": 20 if row.priority else 10}
            for row in claimed
        ],
    )
    began = value(owner, "select clock_timestamp()")

    def be_at(connection: SyncConnection, seconds: int) -> None:
        moment = str(began + timedelta(seconds=seconds))
        connection.execute("select set_config('chatsync.now', %s, false)", [moment])

    claim_lanes = (
        "select chatsync.claim_from_lanes(%s, %s, nextval('chatsync.leases'), 100, false, false,"
        " false)"
    )
    for connection, seconds in ((first, 11), (second, 21)):
        be_at(connection, seconds)
        connection.execute("begin")
        connection.execute("select chatsync.promote(%s)", [QUEUE])
    be_at(first, 21)
    waiting = stepper.start(first, claim_lanes, [QUEUE, first_id])
    stepper.until_waiting_or_done(first, waiting)
    second_claimed = value(second, claim_lanes, [QUEUE, second_id])
    second.execute("commit")

    (first_claimed,) = waiting.result()[0]
    assert sorted(first_claimed + second_claimed) == [row.id for row in claimed]


def test_what_is_claimed_for_a_worker_that_was_taken_for_dead_is_not_lost(
    connections: Connections, owner: SyncConnection
) -> None:
    silent, silent_id = register(connections)
    other, other_id = register(connections)
    enqueue(silent, "a", "keyed")
    enqueue(silent, None, "keyless")
    owner.execute(
        "update chatsync.workers set lease_until = now() - interval '1 s' where worker_id = %s",
        [silent_id],
    )
    other.execute("select chatsync.reap()")
    try:
        claim(silent, silent_id)
    except psycopg.DatabaseError as error:
        assert error.sqlstate == "CS001"  # noqa: PT017 - to be refused is as good as to be freed
    silent.close()

    assert _claimed_in_the_end(other, other_id) == {"keyed", "keyless"}


def test_a_claim_that_is_committed_after_its_process_was_reaped_is_not_lost(
    connections: Connections, owner: SyncConnection, stepper: Stepper
) -> None:
    lease, doomed_id = register(connections)
    other, other_id = register(connections)
    doomed = connections.open("chatsync_worker")
    producer = connections.open("chatsync_worker")
    enqueue(producer, "a", "scheduled", p_scheduled_at=value(owner, "select now() + '50 ms'"))
    producer.execute("begin")
    enqueue(producer, "a", "made its lane")
    owner.execute(
        "select pg_sleep(extract(epoch from max(scheduled_at) - clock_timestamp()))"
        " from chatsync.message_queue"
    )
    claiming = stepper.start_and_wait(
        doomed, "select id from chatsync.claim(%s, %s)", [QUEUE, doomed_id]
    )
    lease.close()
    while value(other, "select count(*) from chatsync.workers where worker_id = %s", [doomed_id]):
        other.execute("select chatsync.reap(), pg_sleep(0.01)")
    producer.execute("commit")
    try:
        claiming.result()
    except psycopg.DatabaseError as error:
        assert error.sqlstate == "CS001"  # noqa: PT017
    doomed.close()

    assert _claimed_in_the_end(other, other_id) == {"scheduled", "made its lane"}


def _claimed_in_the_end(connection: SyncConnection, worker_id: int) -> set[str]:
    connection.execute("select chatsync.reap()")
    connection.execute("select chatsync.sweep_lanes()")
    found: set[str] = set()
    while claimed := claim(connection, worker_id):
        found |= set(labels(claimed))
        settle(connection, claimed)
    return found

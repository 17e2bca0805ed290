"""A worker in plain SQL: one message at a time, leased to a session."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, count, enqueue, reap_until_freed, register, value

pytestmark = pytest.mark.usefixtures("tenant")


def take(connection: SyncConnection, *worker_id: int) -> Any:
    """The next message, or None."""
    cursor = connection.cursor(row_factory=namedtuple_row)
    parameters: Sequence[object] = [QUEUE, *worker_id]
    return cursor.execute(
        "select *, payload ->> 'label' as label from chatsync.get_next_queue_message(%s, %s)"
        if worker_id
        else "select *, payload ->> 'label' as label from chatsync.get_next_queue_message(%s)",
        parameters,
    ).fetchone()


def complete(connection: SyncConnection, message: Any) -> None:
    connection.execute("select chatsync.complete(%s, %s)", [message.id, message.lease_id])


def fail(connection: SyncConnection, message: Any, *more: object) -> None:
    connection.execute(
        "select chatsync.fail(%s, %s, %s, %s, %s)",
        [message.id, message.lease_id, *(*more, None, None, None)[:3]],
    )


def test_messages_of_a_key_come_one_after_the_other(connections: Connections) -> None:
    one, other = (connections.open("chatsync_worker") for _ in range(2))
    for number in range(2):
        enqueue(one, "a", number)
    enqueue(one, "b", "of another key")

    first = take(one)
    assert (first.label, first.retry_count) == ("0", 1)
    second = take(other)
    assert second.label == "of another key"
    assert take(other) is None
    complete(one, first)
    assert take(other).label == "1"


def test_what_is_done_leaves_nothing_behind(worker: SyncConnection) -> None:
    enqueue(worker, "a", 1)
    enqueue(worker, None, 2)
    for _ in range(2):
        complete(worker, take(worker))

    for table in ("message_queue", "queue_lanes", "lane_turns"):
        assert count(worker, table) == 0


def test_a_session_is_one_worker_from_its_first_call_on(worker: SyncConnection) -> None:
    worker.execute("set application_name = 'mailer'")
    enqueue(worker, None, 1)
    enqueue(worker, None, 2)
    messages = [take(worker), take(worker)]

    rows = worker.execute(
        "select worker_id, name, lease_until > now() + interval '4 minutes' from chatsync.workers"
    ).fetchall()
    assert rows == [
        (messages[0].worker_id, f"mailer:{worker.info.backend_pid}", True),
    ]
    assert messages[1].worker_id == messages[0].worker_id


def test_each_call_renews_the_lease_of_the_session(worker: SyncConnection) -> None:
    take(worker)
    worker.execute("update chatsync.workers set lease_until = now() + interval '1 second'")
    take(worker)

    assert value(worker, "select lease_until > now() + interval '4 minutes' from chatsync.workers")


def test_a_failure_is_tried_again_when_it_is_due(worker: SyncConnection) -> None:
    enqueue(worker, "a", 1)
    fail(worker, take(worker), "busy", "1 minute")
    assert take(worker) is None

    worker.execute(
        "select set_config('chatsync.now', (clock_timestamp() + interval '61 s')::text, false)"
    )
    again = take(worker)
    assert (again.retry_count, again.last_error) == (2, "busy")


@pytest.mark.parametrize("why", ["permanent", "out of attempts"])
def test_what_cannot_be_done_becomes_a_dead_letter(worker: SyncConnection, why: str) -> None:
    is_permanent = why == "permanent"
    enqueue(worker, "a", "bad", p_max_retries=5 if is_permanent else 0, p_correlation_id="corr-1")
    fail(worker, take(worker), "no such user", None, is_permanent)

    letters = worker.execute(
        "select correlation_id, error_message, failure_count from chatsync.failed_messages"
    ).fetchall()
    assert letters == [("corr-1", "no such user", 1)]
    assert count(worker, "message_queue") == 0


def test_a_failure_without_a_reason_is_one_all_the_same(worker: SyncConnection) -> None:
    enqueue(worker, "a", "bad")
    fail(worker, take(worker), None, None, True)

    assert value(worker, "select error_message from chatsync.failed_messages")


def test_the_work_of_a_session_that_ended_is_the_next_ones(connections: Connections) -> None:
    doomed, other = (connections.open("chatsync_worker") for _ in range(2))
    enqueue(doomed, "a", 1)
    lost = take(doomed)
    doomed.close()

    # There is no other worker that would look.
    again = None
    while again is None:
        again = take(other)
    assert (again.id, again.deaths) == (lost.id, 1)
    with pytest.raises(psycopg.DatabaseError) as caught:
        complete(other, lost)
    assert caught.value.sqlstate == "CS001"


def test_a_session_that_was_taken_for_dead_is_told_and_begins_anew(
    connections: Connections, owner: SyncConnection
) -> None:
    silent, other = (connections.open("chatsync_worker") for _ in range(2))
    enqueue(silent, "a", 1)
    lost = take(silent)
    owner.execute("update chatsync.workers set lease_until = now() - interval '1 second'")
    reap_until_freed(other)

    silent.execute("create temporary table effects (id bigint)")

    def work_and_complete() -> None:
        with silent.transaction():
            silent.execute("insert into effects values (1)")
            complete(silent, lost)

    with pytest.raises(psycopg.DatabaseError):
        work_and_complete()
    assert value(silent, "select count(*) from effects") == 0
    with pytest.raises(psycopg.DatabaseError):
        fail(silent, lost, "too late")
    again = take(silent)
    assert again.id == lost.id
    assert again.worker_id != lost.worker_id
    complete(silent, again)


def test_a_registration_that_was_undone_is_made_again(worker: SyncConnection) -> None:
    enqueue(worker, "a", 1)
    with worker.transaction(force_rollback=True):
        undone = take(worker)
        assert undone.label == "1"

    message = take(worker)
    # Nothing was charged, since nothing happened.
    assert (message.id, message.retry_count) == (undone.id, 1)
    complete(worker, message)


def test_a_worker_that_registered_itself_sees_to_its_own_lease(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    message = take(connection, worker_id)

    assert message.worker_id == worker_id
    assert value(connection, "select count(*) from chatsync.workers") == 1
    assert not value(
        connection, "select lease_until > now() + interval '1 minute' from chatsync.workers"
    )


def test_messages_claimed_together_end_one_by_one(connections: Connections) -> None:
    """claim() gives many under one lease; each lane goes when its last message has ended."""
    connection, worker_id = register(connections)
    for key in ("a", "a", "b", None):
        enqueue(connection, key, key)
    cursor = connection.cursor(row_factory=namedtuple_row)
    a1, a2, b, free = cursor.execute(
        "select * from chatsync.claim(%s, %s, 10)", [QUEUE, worker_id]
    ).fetchall()
    held = (
        "select array_agg(lane order by lane) from chatsync.lane_turns where lease_id is not null"
    )

    complete(connection, b)
    assert value(connection, held) == [f"{QUEUE}/t1/a"]
    complete(connection, a1)
    complete(connection, free)
    assert value(connection, held) == [f"{QUEUE}/t1/a"]
    fail(connection, a2, "busy", "1 minute")
    assert value(connection, held) is None
    assert value(connection, "select status from chatsync.message_queue") == "retrying"

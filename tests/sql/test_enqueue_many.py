"""Many messages in one call: order, defaults, dedupe keys, and calls that meet."""

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, labels, register, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")


def message(label: object, key: str | None = None, **more: object) -> dict[str, object]:
    return {
        "queue": QUEUE,
        "tenant_id": "t1",
        "payload": {"label": label},
        "ordering_key": key,
        **more,
    }


def enqueue_many(connection: SyncConnection, *messages: dict[str, object]) -> list[int]:
    return value(connection, "select chatsync.enqueue_many(%s)", [Jsonb(list(messages))])


def test_ids_come_in_the_order_of_the_messages_and_so_does_the_work(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    # Dedupe keys that sort the other way round.
    ids = enqueue_many(
        connection, *(message(n, "a", dedupe_key=f"d{9 - n}") for n in range(10)), message(10, "a")
    )

    assert ids == sorted(ids)
    claimed = claim(connection, worker_id)
    assert [row.id for row in claimed] == ids
    assert labels(claimed) == [str(n) for n in range(11)]


def test_what_is_left_out_is_as_enqueue_has_it(worker: SyncConnection) -> None:
    plain: dict[str, object] = {"queue": QUEUE, "tenant_id": "t1", "payload": {"a": 1}}
    enqueue_many(worker, plain, plain)
    row = worker.execute(
        "select message_type, status, priority, max_retries, metadata, ordering_key, payload,"
        " inbox_id from chatsync.message_queue"
    ).fetchone()

    assert row == (QUEUE, "pending", 0, 5, {}, None, {"a": 1}, None)
    distinct = "select count(distinct correlation_id) from chatsync.message_queue"
    assert value(worker, distinct) == 2


def test_everything_that_is_said_is_kept(worker: SyncConnection) -> None:
    said: dict[str, Any] = {
        "message_type": "mail",
        "priority": 3,
        "scheduled_at": "2099-01-01T00:00:00+00:00",
        "correlation_id": "c-1",
        "metadata": {"m": [1]},
        "max_retries": 0,
        "dedupe_key": "d",
    }
    enqueue_many(worker, message("x", "a", **said))

    names = sql.SQL(", ").join(sql.Identifier(name) for name in said)
    row = worker.execute(
        sql.SQL("select {}, status from chatsync.message_queue").format(names)
    ).fetchone()
    assert row is not None
    *found, status = row
    said["scheduled_at"] = found[2]
    assert found == list(said.values())
    assert str(found[2]).startswith("2099-01-01")
    assert status == "scheduled"
    # It has no lane before its time has come.
    assert count(worker, "queue_lanes") == 0


def test_a_dedupe_key_gives_the_first_ones_id(worker: SyncConnection) -> None:
    (waiting,) = enqueue_many(worker, message("first", "a", dedupe_key="d"))

    ids = enqueue_many(
        worker,
        message("new", "a"),
        message("again", "a", dedupe_key="d"),
        message("twice", "a", dedupe_key="e"),
        message("twice, again", "a", dedupe_key="e"),
        message("elsewhere", "a", dedupe_key="d", queue="other"),
    )

    assert ids[1] == waiting
    assert ids[2] == ids[3]
    assert len(set(ids)) == 4
    assert count(worker, "message_queue") == 4
    assert value(
        worker, "select payload ->> 'label' from chatsync.message_queue where id = %s", [ids[2]]
    ) in {"twice", "twice, again"}


def test_several_queues_and_tenants_go_in_one_call(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue_many(
        connection,
        message(1, "a", queue="zebra"),
        message(2, "a"),
        message(3, "a", tenant_id="t2"),
        message(4),
    )

    assert sorted(labels(claim(connection, worker_id))) == ["2", "3", "4"]
    assert count(connection, "queue_lanes") == 3


def test_nothing_at_all_is_enqueued_as_nothing(worker: SyncConnection) -> None:
    assert enqueue_many(worker) == []


def test_a_message_that_is_refused_takes_all_of_the_call_with_it(worker: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        enqueue_many(worker, message(1, "a"), message(2, queue="No Queue"))

    assert count(worker, "message_queue") == 0


def test_two_calls_with_the_same_dedupe_keys_the_other_way_round_end_both(
    connections: Connections, stepper: Stepper
) -> None:
    keys = [f"d{number}" for number in range(10, 60)]
    one, other, third = (connections.open("chatsync_worker") for _ in range(3))
    query = "select chatsync.enqueue_many(%s)"
    there = [Jsonb([message(key, dedupe_key=key) for key in keys])]
    back = [Jsonb([message(key, dedupe_key=key) for key in reversed(keys)])]
    # Both are stopped half-way by a third one, so that each holds some when they go on.
    third.execute("begin")
    enqueue_many(third, message("middle", dedupe_key=keys[25]))
    first = stepper.start_and_wait(one, query, there)
    second = stepper.start_and_wait(other, query, back)
    third.execute("commit")

    assert first.result()[0][0] == list(reversed(second.result()[0][0]))
    assert count(one, "message_queue") == 50


def test_only_read_committed_may_enqueue(worker: SyncConnection) -> None:
    worker.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with pytest.raises(psycopg.DatabaseError) as caught, worker.transaction():
        enqueue_many(worker, message(1, "a"))

    assert caught.value.sqlstate == "CS003"

"""A queue that holds as much as it may refuses more, and says so."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value


@pytest.fixture
def worker(connections: Connections) -> tuple[SyncConnection, int]:
    connection, worker_id = register(connections)
    value(connection, "select chatsync.create_tenant('t1')")
    return connection, worker_id


def at(connection: SyncConnection, seconds: float) -> None:
    connection.execute(
        "select set_config('chatsync.now',"
        " (timestamptz '2100-01-01' + make_interval(secs => %s))::text, false)",
        [seconds],
    )


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(
    worker: tuple[SyncConnection, int],
) -> None:
    connection, worker_id = worker
    at(connection, 0)
    value(connection, "select chatsync.limit_depth(%s, 2)", [QUEUE])
    for label in range(2):
        at(connection, 2 * label)
        enqueue(connection, "k", label)
    at(connection, 4)

    with pytest.raises(psycopg.DatabaseError, match="is full: it holds 2 messages") as caught:
        enqueue(connection, "k", 2)
    assert caught.value.sqlstate == "CS007"
    with pytest.raises(psycopg.DatabaseError, match="is full"):
        value(
            connection,
            "select chatsync.enqueue_many("
            'jsonb_build_array(\'{"tenant_id": "t1"}\'::jsonb'
            " || jsonb_build_object('queue', %s::text)))",
            [QUEUE],
        )
    with pytest.raises(psycopg.DatabaseError, match="is full"):
        connection.execute(
            "insert into chatsync.message_queue (queue, tenant_id, message_type, correlation_id)"
            " values (%s, 't1', 'test', 'c')",
            [QUEUE],
        )
    assert count(connection, "message_queue") == 2

    settle(connection, claim(connection, worker_id))
    at(connection, 6)
    enqueue(connection, "k", 2)
    assert labels(claim(connection, worker_id)) == ["2"]


def test_a_depth_is_set_while_a_producer_is_counting_and_keeps_no_claim_waiting(
    worker: tuple[SyncConnection, int], connections: Connections
) -> None:
    connection, worker_id = worker
    value(connection, "select chatsync.limit_depth(%s, 5)", [QUEUE])
    value(connection, "select chatsync.limit_in_flight(%s, 5)", [QUEUE])
    producer = connections.open("chatsync_producer")
    enqueue(connection, "k", 0)
    producer.execute("begin")
    at(producer, 0)
    enqueue(producer, "other", 1)
    operator = connections.open("chatsync_operator")
    operator.execute("set statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        operator.execute("select chatsync.limit_depth(%s, 6)", [QUEUE])
    operator.execute("select chatsync.limit_in_flight(%s, 6)", [QUEUE])

    assert labels(claim(connection, worker_id)) == ["0"]

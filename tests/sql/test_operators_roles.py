"""What producers, operators and readers may do, tried out."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import rows
from sql.queue_calls import claim, enqueue, labels, register, value

pytestmark = pytest.mark.usefixtures("tenant")

INSERT = (
    "insert into chatsync.message_queue"
    " (queue, tenant_id, message_type, correlation_id, ordering_key, payload)"
    " values ('outbound', %s, 'test', 'c', %s, '{\"label\": \"inserted\"}')"
)


@pytest.fixture
def producer(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_producer")


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


@pytest.fixture
def reader(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_reader")


@pytest.mark.parametrize("key", ["a", None])
def test_a_producer_enqueues_once_under_a_dedupe_key(
    connections: Connections, producer: SyncConnection, key: str | None
) -> None:
    connection, worker_id = register(connections)
    first = enqueue(producer, key, 1, p_dedupe_key="d")

    assert enqueue(producer, key, 2, p_dedupe_key="d") == first
    assert labels(claim(connection, worker_id)) == ["1"]


@pytest.mark.parametrize("key", ["a", None])
def test_a_producer_inserts_for_any_tenant_and_learns_the_id(
    connections: Connections, producer: SyncConnection, key: str | None
) -> None:
    connection, worker_id = register(connections)
    for tenant in ("t1", "t2"):
        assert value(producer, INSERT + " returning id", [tenant, key]) > 0

    assert labels(claim(connection, worker_id)) == ["inserted", "inserted"]


def test_a_producer_schedules_by_plain_sql(producer: SyncConnection, owner: SyncConnection) -> None:
    producer.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, status, scheduled_at)"
        " values ('q', 't1', 'x', 'c', 'scheduled', '2999-01-01')"
    )
    assert value(owner, "select status from chatsync.message_queue") == "scheduled"


@pytest.mark.parametrize("status", ["retrying", "paused"])
def test_a_producer_cannot_say_how_far_a_message_has_come(
    producer: SyncConnection, status: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        producer.execute(
            "insert into chatsync.message_queue"
            " (queue, tenant_id, message_type, correlation_id, status)"
            " values ('q', 't1', 'x', 'c', %s)",
            [status],
        )


@pytest.mark.parametrize(
    "statement",
    [
        "select payload from chatsync.message_queue",
        "select * from chatsync.failed_messages",
        "select * from chatsync.queue_depth",
        "delete from chatsync.message_queue",
        "update chatsync.message_queue set priority = 1",
        "insert into chatsync.queue_lanes (lane, queue, tenant_id, ordering_key)"
        " values ('x', 'x', 'x', 'x')",
        "select * from chatsync.claim('q', 1)",
        "select chatsync.cancel_message(1, 'x')",
    ],
)
def test_a_producer_can_do_nothing_else(producer: SyncConnection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        producer.execute(statement.encode())


def test_an_operator_reads_all_of_the_queue_and_changes_it_by_functions_alone(
    operator: SyncConnection, worker: SyncConnection
) -> None:
    for tenant in ("t1", "t2"):
        worker.execute("select chatsync.enqueue('outbound', %s, 'x', '{}', 'a')", [tenant])
    found = rows(operator, "select tenant_id, payload from chatsync.message_queue order by 1")
    assert [row.tenant_id for row in found] == ["t1", "t2"]
    for statement in (
        "delete from chatsync.message_queue",
        "update chatsync.message_queue set status = 'pending'",
        "insert into chatsync.message_queue (queue) values ('q')",
        "delete from chatsync.failed_messages",
        "delete from chatsync.lane_turns",
        "select chatsync.enqueue('q', 't1', 'x', '{}')",
        "select chatsync.let_lanes_go('{}')",
        "select chatsync.dead_letter(1, 'x')",
        "select chatsync.hold_message(1)",
        "select * from chatsync.messages",
        "select app_secret from chatsync.inboxes",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            operator.execute(statement.encode())
    assert value(operator, "select chatsync.purge_queue('outbound')") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "select payload from chatsync.message_queue",
        "select body from chatsync.message_queue",
        "select metadata from chatsync.message_queue",
        "select payload from chatsync.failed_messages",
        "select summary from chatsync.failed_messages",
        "select * from chatsync.peek_queue('outbound')",
        "select * from chatsync.timeline('c')",
        "select chatsync.retry_message(1)",
        "delete from chatsync.message_queue",
        "select * from chatsync.queue_policies",
    ],
)
def test_a_reader_sees_no_content_and_changes_nothing(
    reader: SyncConnection, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(statement.encode())

"""Who gets what when: keys, lanes, priorities, schedules."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")


def test_messages_of_a_key_come_in_the_order_of_enqueueing(connections: Connections) -> None:
    connection, worker_id = register(connections)
    for number in range(10):
        enqueue(connection, "a", number)

    first = claim(connection, worker_id, limit=4)
    assert labels(first) == ["0", "1", "2", "3"]
    settle(connection, first)
    assert labels(claim(connection, worker_id)) == ["4", "5", "6", "7", "8", "9"]


def test_one_batch_of_a_key_is_in_flight(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    for number in range(4):
        enqueue(connection, "a", number)
    enqueue(connection, "b", "other key")

    first = claim(connection, worker_id, limit=2)
    assert labels(first) == ["0", "1"]
    assert labels(claim(other, other_id)) == ["other key"]
    settle(connection, first)
    assert labels(claim(other, other_id)) == ["2", "3"]


def test_messages_without_a_key_are_free(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    for number in range(4):
        enqueue(connection, None, number)

    assert labels(claim(connection, worker_id, limit=2)) == ["0", "1"]
    assert labels(claim(other, other_id)) == ["2", "3"]


def test_a_higher_priority_is_claimed_first(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "low")
    enqueue(connection, "b", "high", p_priority=5)
    enqueue(connection, None, "low, no key")
    enqueue(connection, None, "high, no key", p_priority=5)

    assert labels(claim(connection, worker_id, limit=1)) == ["high"]
    claim(connection, worker_id, limit=1)
    assert labels(claim(connection, worker_id, limit=1)) == ["high, no key"]


def test_finished_work_leaves_the_table_and_its_lane(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)

    settle(connection, claim(connection, worker_id))

    assert count(owner, "message_queue") == 0
    assert count(owner, "queue_lanes") == 0
    assert count(owner, "lane_turns") == 0


def test_the_lane_of_an_inbox_stays_without_a_turn(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    row = connection.execute(
        "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')"
    ).fetchone()
    assert row is not None
    connection.execute(
        "select chatsync.enqueue_deliveries(%s, %s, %s)",
        [[row[0], row[0]], ["c1", "c2"], [b"one", b"two"]],
    )
    cursor = connection.execute("select * from chatsync.claim('inbound', %s, 10)", [worker_id])
    leased = cursor.fetchall()
    assert len(leased) == 2
    connection.execute(
        "select chatsync.settle(lease_id, array_agg(id)) from chatsync.message_queue"
        " group by lease_id"
    )

    assert count(owner, "queue_lanes") == 1
    assert count(owner, "lane_turns") == 0


def test_a_scheduled_message_joins_its_line_when_due(connections: Connections) -> None:
    connection, worker_id = register(connections)
    connection.execute("select set_config('chatsync.now', '2030-01-01 12:00:00Z', false)")
    enqueue(connection, "a", "later", p_scheduled_at="2030-01-01 12:00:10Z")
    enqueue(connection, "a", "now")

    first = claim(connection, worker_id)
    assert labels(first) == ["now"]
    settle(connection, first)
    assert claim(connection, worker_id) == []
    row = connection.execute("select chatsync.next_ready_at(%s)::text", [QUEUE]).fetchone()
    assert row is not None
    assert str(row[0]).startswith("2030-01-01 12:00:10")

    connection.execute("select set_config('chatsync.now', '2030-01-01 12:00:10Z', false)")
    assert labels(claim(connection, worker_id)) == ["later"]


def test_a_dedupe_key_queues_a_message_once(connections: Connections) -> None:
    connection, worker_id = register(connections)
    first = enqueue(connection, "a", 1, p_dedupe_key="d")

    assert enqueue(connection, "a", 2, p_dedupe_key="d") == first
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_plain_insert_joins_its_lane(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    connection.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, ordering_key, payload)"
        " values (%s, 't1', 'test', 'c', 'a', '{\"label\": \"inserted\"}')",
        [QUEUE],
    )

    assert labels(claim(connection, worker_id)) == ["first", "inserted"]


def test_enqueueing_outside_read_committed_is_refused(connections: Connections) -> None:
    connection, _ = register(connections)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    with pytest.raises(psycopg.DatabaseError) as caught, connection.transaction():
        enqueue(connection, "a", 1)

    assert caught.value.sqlstate == "CS003"


@pytest.mark.parametrize("key", ["a", None])
def test_priority_is_a_head_start_of_ten_seconds_a_level(
    connections: Connections, key: str | None
) -> None:
    connection, worker_id = register(connections)
    for seconds, priority, label in ((0, 0, "patient"), (19, 2, "first"), (21, 2, "late")):
        connection.execute(
            "select set_config('chatsync.now', %s, false)", [f"2026-01-01 12:00:{seconds:02}Z"]
        )
        enqueue(connection, key and f"{key} {label}", label, p_priority=priority)

    claimed = [labels(claim(connection, worker_id, limit=1)) for _ in range(3)]

    assert claimed == [["first"], ["patient"], ["late"]]


def test_a_lane_that_waits_for_its_retry_is_in_no_claims_way(connections: Connections) -> None:
    connection, worker_id = register(connections)
    connection.execute("select set_config('chatsync.now', '2026-01-01 12:00Z', false)")
    enqueue(connection, "a", "retried")
    claimed = claim(connection, worker_id)
    failed = [{"id": claimed[0].id, "error": "x", "retryAfterSeconds": 60}]
    settle(connection, claimed, done=[], failed=failed)

    assert value(connection, "select is_waiting from chatsync.lane_turns") is True
    assert claim(connection, worker_id) == []
    due = value(connection, "select chatsync.next_ready_at(%s) = '2026-01-01 12:01Z'", [QUEUE])
    assert due is True
    connection.execute("select set_config('chatsync.now', '2026-01-01 12:01Z', false)")
    assert labels(claim(connection, worker_id)) == ["retried"]


def test_the_end_of_a_batch_and_the_next_claim_are_one_call(connections: Connections) -> None:
    connection, worker_id = register(connections)
    for label in range(3):
        enqueue(connection, "a", label)
    first = claim(connection, worker_id, 1)

    def settle_and_claim() -> list[tuple[object, ...]]:
        return connection.execute(
            "select payload ->> 'label', lease_id"
            " from chatsync.settle_and_claim(%s, %s, '[]', '{}', %s, %s, 1)",
            [first[0].lease_id, [first[0].id], QUEUE, worker_id],
        ).fetchall()

    assert [label for label, _ in settle_and_claim()] == ["1"]
    # Whoever lost the lease claims nothing.
    with pytest.raises(psycopg.DatabaseError) as caught:
        settle_and_claim()
    assert caught.value.sqlstate == "CS001"
    assert count(connection, "message_queue") == 2


@pytest.mark.parametrize("queue", ["", "Mail", "1st", "_mail", "a b", "é", "a/b", "a" * 64])
def test_a_queue_has_a_plain_name(connections: Connections, queue: str) -> None:
    producer = connections.open("chatsync_producer")
    with pytest.raises(psycopg.errors.CheckViolation, match="queue_is_plain"):
        producer.execute("select chatsync.enqueue(%s, 't1', 'test', '{}')", [queue])


@pytest.mark.parametrize("queue", ["a", "a-b_c.9", "z" * 63])
def test_a_plain_name_is_no_special_one(connections: Connections, queue: str) -> None:
    producer = connections.open("chatsync_producer")
    assert value(producer, "select chatsync.enqueue(%s, 't1', 'test', '{}')", [queue])

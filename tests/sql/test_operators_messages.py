"""One message in the operator's hands: looked at, retried, cancelled."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import (
    CANCEL,
    LATER,
    RETRY,
    assert_no_lane_is_stranded,
    cancel,
    enqueue_backing_off,
    retry,
    rows,
    waiting,
)
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def test_a_cancelled_head_lets_the_next_of_its_key_run(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    head = enqueue_backing_off(connection, worker_id, "a", "head")
    enqueue(connection, "a", "next")
    assert claim(connection, worker_id) == []

    assert cancel(operator, head, "the customer left") is True

    assert labels(claim(connection, worker_id)) == ["next"]
    (dead,) = rows(owner, "select * from chatsync.failed_messages")
    assert (dead.original_message_id, dead.error_message) == (head, "the customer left")
    assert (dead.summary, dead.failure_count) == ({"label": "head"}, 1)


def test_a_cancelled_message_behind_the_head_leaves_the_head_waiting(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    head = enqueue_backing_off(connection, worker_id, "a", "head")
    second = enqueue(connection, "a", "second")

    assert cancel(operator, second) is True

    assert claim(connection, worker_id) == []
    assert waiting(owner) == [head]
    assert_no_lane_is_stranded(owner)


@pytest.mark.parametrize("key", ["a", None])
@pytest.mark.parametrize("scheduled_at", [None, "2999-01-01T00:00:00Z"])
def test_the_last_message_that_is_cancelled_leaves_nothing_behind(
    operator: SyncConnection,
    worker: SyncConnection,
    owner: SyncConnection,
    key: str | None,
    scheduled_at: str | None,
) -> None:
    only = enqueue(worker, key, 1, p_scheduled_at=scheduled_at)

    assert cancel(operator, only) is True

    for table in ("message_queue", "queue_lanes", "lane_turns"):
        assert count(owner, table) == 0
    assert count(owner, "failed_messages") == 1
    assert cancel(operator, only) is False


@pytest.mark.parametrize("call", [CANCEL, RETRY])
@pytest.mark.parametrize("key", ["a", None])
def test_what_a_worker_has_is_refused(
    connections: Connections, operator: SyncConnection, key: str | None, call: str
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, key, 1)
    claimed = claim(connection, worker_id)
    parameters = [message_id, "why"][: call.count("%s")]

    with pytest.raises(psycopg.DatabaseError, match="in the hands of a worker") as raised:
        operator.execute(call.encode(), parameters)

    assert raised.value.sqlstate == "CS005"
    settle(connection, claimed)


def test_a_message_behind_a_batch_may_be_cancelled(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for label in ("claimed", "cancelled", "kept"):
        enqueue(connection, "a", label)
    claimed = claim(connection, worker_id, limit=1)

    assert cancel(operator, claimed[0].id + 1) is True
    assert claim(connection, worker_id) == []
    settle(connection, claimed)

    assert labels(claim(connection, worker_id)) == ["kept"]
    assert_no_lane_is_stranded(owner)


def test_a_reason_may_be_left_out(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    cancel(operator, enqueue(worker, "a", 1), None)
    assert value(owner, "select error_message from chatsync.failed_messages") == "cancelled"


@pytest.mark.parametrize("key", ["a", None])
def test_a_message_that_backs_off_is_retried_at_once(
    connections: Connections, operator: SyncConnection, key: str | None
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue_backing_off(connection, worker_id, key, "head")
    assert claim(connection, worker_id) == []

    assert retry(operator, message_id) is True

    (claimed,) = claim(connection, worker_id)
    assert (claimed.id, claimed.retry_count) == (message_id, 2)


@pytest.mark.parametrize("key", ["a", None])
def test_a_scheduled_message_is_run_before_its_time(
    connections: Connections, operator: SyncConnection, owner: SyncConnection, key: str | None
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, key, 1, p_scheduled_at="2999-01-01T00:00:00Z")
    assert claim(connection, worker_id) == []

    assert retry(operator, message_id) is True

    assert labels(claim(connection, worker_id)) == ["1"]
    assert_no_lane_is_stranded(owner)


def test_a_scheduled_message_that_is_retried_waits_for_the_batch_of_its_key(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    scheduled = enqueue(connection, "a", "scheduled", p_scheduled_at="2999-01-01T00:00:00Z")
    enqueue(connection, "a", "claimed")
    claimed = claim(connection, worker_id)

    assert retry(operator, scheduled) is True

    assert claim(connection, worker_id) == []
    settle(connection, claimed)
    assert labels(claim(connection, worker_id)) == ["scheduled"]
    assert_no_lane_is_stranded(owner)


def test_a_scheduled_message_that_is_older_than_a_blocking_head_runs_before_it(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    older = enqueue(connection, "a", "older", p_scheduled_at="2999-01-01T00:00:00Z")
    enqueue_backing_off(connection, worker_id, "a", "head")

    assert retry(operator, older) is True

    assert labels(claim(connection, worker_id)) == ["older"]


def test_a_retry_behind_a_blocking_head_keeps_its_place(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    first = enqueue(connection, "a", "first")
    second = enqueue(connection, "a", "second")
    claimed = claim(connection, worker_id)
    settle(connection, claimed, done=[], failed=[{"id": i, **LATER} for i in (first, second)])

    assert retry(operator, second) is True
    assert claim(connection, worker_id) == []
    assert retry(operator, first) is True

    assert labels(claim(connection, worker_id)) == ["first", "second"]
    assert_no_lane_is_stranded(owner)


def test_what_is_in_line_or_gone_is_not_retried(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    assert retry(operator, enqueue(worker, "a", 1)) is False
    assert retry(operator, 999) is False
    assert count(owner, "message_queue") == count(owner, "lane_turns") == 1


@pytest.mark.parametrize("call", [CANCEL, RETRY])
def test_changing_a_message_needs_read_committed(
    operator: SyncConnection, worker: SyncConnection, call: str
) -> None:
    message_id = enqueue(worker, "a", 1)
    operator.execute("begin isolation level repeatable read")
    parameters = [message_id, "why"][: call.count("%s")]

    with pytest.raises(psycopg.DatabaseError, match="READ COMMITTED") as raised:
        operator.execute(call.encode(), parameters)

    assert raised.value.sqlstate == "CS003"


def test_peeking_shows_what_runs_first(
    connections: Connections, operator: SyncConnection, worker: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue_backing_off(connection, worker_id, "a", "head")
    enqueue_backing_off(connection, worker_id, None, "later")
    enqueue(worker, None, "claimed")
    assert len(claim(connection, worker_id)) == 1
    for label, named in (
        ("tomorrow", {"p_scheduled_at": "2998-01-01T00:00:00Z"}),
        ("second", {}),
        ("soon", {"p_scheduled_at": "2997-01-01T00:00:00Z"}),
    ):
        enqueue(worker, "a", label, **named)
    enqueue(worker, None, "low")
    enqueue(worker, None, "high", p_priority=5)

    shown = rows(operator, "select * from chatsync.peek_queue(%s)", QUEUE)

    assert [row.preview for row in shown] == [
        f'{{"label": "{label}"}}'
        for label in ("claimed", "high", "head", "second", "low", "later", "soon", "tomorrow")
    ]
    assert (shown[0].status, shown[2].status) == ("processing", "retrying")
    assert (shown[2].last_error, shown[2].retry_count) == ("busy", 1)
    of_key = rows(
        operator, "select * from chatsync.peek_queue(%s, 2, 't1', p_ordering_key => 'a')", QUEUE
    )
    assert [row.preview for row in of_key] == ['{"label": "head"}', '{"label": "second"}']
    assert rows(operator, "select * from chatsync.peek_queue(%s, 20, 'other')", QUEUE) == []


@pytest.mark.parametrize(
    ("body", "preview"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"", ""),
        (b"\xff\x00\\", "\\377\\000\\\\"),
        (b"\x1b[31mred\x07\n\x7f", " [31mred   "),
        ("é".encode() * 500, "é" * 200),
        (b"x" + "😀".encode() * 500, "x" + "😀" * 199),
        (b"\xe2\x82" * 500, ("\\342\\202" * 500)[:200]),
    ],
)
def test_a_preview_is_safe_whatever_the_bytes(
    operator: SyncConnection, owner: SyncConnection, body: bytes, preview: str
) -> None:
    owner.execute(
        "insert into chatsync.message_queue (queue, tenant_id, message_type, correlation_id, body)"
        " values ('q', 't1', 'x', 'c', %s)",
        [body],
    )
    assert value(operator, "select preview from chatsync.peek_queue('q')") == preview


def test_a_preview_of_a_payload_is_its_beginning(
    operator: SyncConnection, worker: SyncConnection
) -> None:
    worker.execute("select chatsync.enqueue('q', 't1', 'x', %s)", [Jsonb("ü" * 500)])
    assert value(operator, "select preview from chatsync.peek_queue('q')") == '"' + "ü" * 199

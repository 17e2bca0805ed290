"""Many messages in the operator's hands: moved and purged."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import (
    LATER,
    assert_no_lane_is_stranded,
    enqueue_backing_off,
    rows,
    waiting,
)
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

LATE = "2999-01-01T00:00:00Z"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def move(operator: SyncConnection, **named: object) -> int:
    """Move from `outbound` to `parked`; the rest by default."""
    given = {"limit": 1000, "tenant": None, "dry": False, **named}
    return value(
        operator,
        "select chatsync.move_messages('outbound', 'parked', %s, %s, %s)",
        [given["limit"], given["tenant"], given["dry"]],
    )


def purge(operator: SyncConnection, **named: object) -> int:
    given = {"tenant": None, "before": None, "limit": 10000, "dry": False, **named}
    return value(
        operator,
        "select chatsync.purge_queue('outbound', %s, %s, %s, %s)",
        [given["tenant"], given["before"], given["limit"], given["dry"]],
    )


def claim_parked(connection: SyncConnection, worker_id: int) -> list[str]:
    return [
        row.label
        for row in rows(
            connection,
            "select payload ->> 'label' as label from chatsync.claim('parked', %s, 100)",
            worker_id,
        )
    ]


def test_moved_messages_run_in_the_other_queue_in_their_order(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue_backing_off(connection, worker_id, "a", "a1")
    for key, label in (("b", "b1"), ("a", "a2"), (None, "free"), ("b", "b2"), ("a", "a3")):
        enqueue(connection, key, label)
    enqueue(connection, "c", "tomorrow", p_scheduled_at=LATE)
    before = waiting(owner)

    assert move(operator, dry=True) == 7
    assert waiting(owner) == before
    assert move(operator) == 7

    assert waiting(owner, "parked") == before
    assert claim_parked(connection, worker_id) == ["b1", "free", "b2"]
    assert claim(connection, worker_id) == []
    queues = owner.execute("select queue, count(*) from chatsync.queue_lanes group by 1").fetchall()
    assert queues == [("parked", 2)]
    assert value(operator, "select chatsync.retry_message(%s)", [before[0]]) is True
    assert claim_parked(connection, worker_id) == ["a1", "a2", "a3"]
    assert_no_lane_is_stranded(owner)


def test_a_key_that_a_worker_is_at_stays_as_a_whole(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for label in ("claimed", "next"):
        enqueue(connection, "a", label)
    enqueue(connection, "a", "tomorrow", p_scheduled_at=LATE)
    claimed = claim(connection, worker_id, limit=1)
    enqueue(connection, "b", "goes")

    assert move(operator, dry=True) == 1
    assert move(operator) == 1

    settle(connection, claimed)
    assert labels(claim(connection, worker_id)) == ["next"]
    assert claim_parked(connection, worker_id) == ["goes"]
    assert len(waiting(owner)) == 2


def test_a_key_moves_as_a_whole_whatever_the_limit(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    ids = [enqueue(worker, key, key) for key in ("a", "a", "b", "a", None)]

    assert move(operator, limit=1) == 3
    assert waiting(owner) == [ids[2], ids[4]]
    assert move(operator, limit=1) == 1
    assert move(operator, limit=1) == 1
    assert move(operator, limit=1) == 0
    assert_no_lane_is_stranded(owner)


def test_what_moves_before_a_blocking_head_is_not_blocked_by_it(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "moved")
    connection.execute(
        "select chatsync.enqueue('parked', 't1', 'test', '{\"label\": \"blocking\"}', 'a')"
    )
    ((lease, blocking),) = connection.execute(
        "select lease_id, id from chatsync.claim('parked', %s)", [worker_id]
    ).fetchall()
    failed = Jsonb([{"id": blocking, **LATER}])
    connection.execute("select chatsync.settle(%s, '{}', %s)", [lease, failed])

    assert move(operator) == 1

    assert claim_parked(connection, worker_id) == ["moved"]
    assert_no_lane_is_stranded(owner)


def test_only_the_tenant_that_is_named_moves(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    enqueue(worker, "a", 1)
    worker.execute("select chatsync.enqueue('outbound', 't2', 'x', '{}', 'a')")

    assert move(operator, tenant="t2") == 1

    assert rows(owner, "select tenant_id from chatsync.message_queue where queue = 'parked'") == [
        ("t2",)
    ]


def test_a_message_that_is_queued_there_already_stays(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    stays = enqueue(worker, "a", 1, p_dedupe_key="d")
    worker.execute("select chatsync.enqueue('parked', 't1', 'x', '{}', 'a', 'd')")
    enqueue(worker, "b", 1, p_dedupe_key="e")

    assert move(operator) == 1
    assert waiting(owner) == [stays]


def test_moving_to_the_same_queue_is_refused(operator: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="already"):
        operator.execute("select chatsync.move_messages('outbound', 'outbound')")


@pytest.mark.parametrize(
    "call",
    [
        "select chatsync.move_messages('outbound', 'parked')",
        "select chatsync.purge_queue('outbound')",
        "select chatsync.redrive('outbound')",
    ],
)
def test_changing_many_messages_needs_read_committed(operator: SyncConnection, call: str) -> None:
    operator.execute("begin isolation level serializable")
    with pytest.raises(psycopg.DatabaseError, match="READ COMMITTED") as raised:
        operator.execute(call.encode())
    assert raised.value.sqlstate == "CS003"


def test_a_purge_takes_all_that_waits_and_never_what_a_worker_has(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "claimed")
    enqueue(connection, None, "claimed, no key")
    claimed = claim(connection, worker_id)
    for key in ("a", "b", None):
        enqueue(connection, key, "pending")
        enqueue(connection, key, "tomorrow", p_scheduled_at=LATE)

    assert purge(operator, dry=True) == 6
    assert count(owner, "message_queue") == 8
    assert purge(operator) == 6

    assert waiting(owner) == [row.id for row in claimed]
    settle(connection, claimed)
    for table in ("message_queue", "queue_lanes", "lane_turns", "failed_messages"):
        assert count(owner, table) == 0


def test_a_purge_behind_a_batch_leaves_the_lane_to_its_worker(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for label in ("claimed", "purged", "kept"):
        enqueue(connection, "a", label)
    claimed = claim(connection, worker_id, limit=1)

    assert purge(operator, limit=1) == 1

    assert claim(connection, worker_id) == []
    settle(connection, claimed)
    assert labels(claim(connection, worker_id)) == ["kept"]
    assert_no_lane_is_stranded(owner)


def test_a_purge_of_a_blocking_head_lets_the_next_run(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue_backing_off(connection, worker_id, "a", "head")
    enqueue(connection, "a", "next")

    assert purge(operator, limit=1) == 1

    assert labels(claim(connection, worker_id)) == ["next"]
    assert_no_lane_is_stranded(owner)


def test_a_purge_takes_what_is_named_and_no_more(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("set chatsync.now = '2026-01-01T00:00:00Z'")
    old = enqueue(worker, "a", "old")
    worker.execute("select chatsync.enqueue('outbound', 't2', 'x', '{}', 'a')")
    worker.execute("select chatsync.enqueue('other', 't1', 'x', '{}', 'a')")
    worker.execute("set chatsync.now = '2026-01-03T00:00:00Z'")
    new = enqueue(worker, "a", "new")

    assert purge(operator, tenant="t1", before="2026-01-02T00:00:00Z") == 1

    assert old not in waiting(owner)
    assert new in waiting(owner)
    assert count(owner, "message_queue") == 3


def test_an_inbox_keeps_its_lane_when_its_deliveries_are_purged(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    inbox = value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')")
    worker.execute(
        "select chatsync.enqueue_deliveries(%s, array['c'], array['x'::bytea])", [[inbox]]
    )

    assert value(operator, "select chatsync.purge_queue('inbound')") == 1

    assert count(owner, "queue_lanes") == 1
    assert count(owner, "lane_turns") == 0
    assert waiting(owner, QUEUE) == []

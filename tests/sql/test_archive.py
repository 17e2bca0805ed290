"""Done messages stay in the archive of a queue that has one, for as long as its policy says."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.inbound_calls import create_inbox
from sql.operator_calls import cancel, rows
from sql.queue_calls import claim, count, enqueue, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

ARCHIVE = "select * from chatsync.message_archive order by id"
SET_NOW = "select set_config('chatsync.now', %s, false)"
HISTORY = "select chatsync.drop_history(7)"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    connection = connections.open("chatsync_operator")
    keep(connection, "outbound", 7)
    return connection


def keep(operator: SyncConnection, queue: str, days: int) -> None:
    operator.execute("select chatsync.set_policy(%s, p_archive_days => %s)", [queue, days])


def archived(connection: SyncConnection) -> list[int]:
    return [row.id for row in rows(connection, ARCHIVE)]


def test_a_done_message_is_archived_as_it_was(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    message_id = enqueue(
        connection,
        "a",
        "x",
        p_correlation_id="c",
        p_dedupe_key="d",
        p_priority=3,
        p_inbox_id=5,
        p_metadata=Jsonb({"trace": 1}),
    )
    connection.execute(SET_NOW, ["2026-01-01T00:00:01Z"])
    claimed = claim(connection, worker_id)
    connection.execute(SET_NOW, ["2026-01-01T00:00:02Z"])
    settle(connection, claimed)

    (kept,) = rows(operator, ARCHIVE)
    assert (kept.id, kept.queue, kept.tenant_id, kept.inbox_id) == (message_id, "outbound", "t1", 5)
    assert (kept.message_type, kept.correlation_id) == ("test", "c")
    assert (kept.ordering_key, kept.dedupe_key, kept.priority) == ("a", "d", 3)
    assert (kept.payload, kept.body, kept.metadata) == ({"label": "x"}, None, {"trace": 1})
    assert (kept.retry_count, kept.last_error, kept.worker_id) == (1, None, worker_id)
    assert (kept.created_at.second, kept.processed_at.second, kept.done_at.second) == (0, 1, 2)
    assert count(operator, "message_queue") == 0


def test_only_what_is_done_is_archived(connections: Connections, operator: SyncConnection) -> None:
    connection, worker_id = register(connections)
    done, failed, dead, untouched = (enqueue(connection, None, n) for n in range(4))
    claimed = claim(connection, worker_id)
    settle(
        connection,
        claimed,
        done=[done],
        failed=[
            {"id": failed, "error": "busy", "retryAfterSeconds": 60},
            {"id": dead, "error": "never", "isPermanent": True},
        ],
        untouched=[untouched],
    )
    cancel(operator, untouched)
    operator.execute("select chatsync.purge_queue('outbound')")

    assert archived(operator) == [done]


def test_only_queues_with_a_policy_are_archived(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    keep(operator, "outbound", 0)
    keep(operator, "other", 7)
    enqueue(connection, None, 1)
    settle(connection, claim(connection, worker_id))
    assert count(operator, "message_queue") == 0
    assert archived(operator) == []

    connection.execute("select chatsync.enqueue('other', 't1', 'test', '{}')")
    (claimed,) = rows(connection, "select * from chatsync.claim('other', %s, 10)", worker_id)
    settle(connection, [claimed])
    assert archived(operator) == [claimed.id]


def test_every_way_to_settle_archives(connections: Connections, operator: SyncConnection) -> None:
    connection, worker_id = register(connections)
    ids = [enqueue(connection, None, n) for n in range(6)]
    claimed = claim(connection, worker_id, limit=4)
    lease_id = claimed[0].lease_id
    connection.execute(
        "select chatsync.settle(%s, %s, p_is_part => true)", [lease_id, [claimed[0].id]]
    )
    connection.execute("select chatsync.settle_some(%s, %s)", [lease_id, [claimed[1].id]])
    connection.execute("select chatsync.complete(%s, %s)", [claimed[2].id, lease_id])
    (following,) = rows(
        connection,
        "select * from chatsync.settle_and_claim(%s, %s, '[]', '{}', 'outbound', %s, 1)",
        lease_id,
        [claimed[3].id],
        worker_id,
    )
    settle(connection, [following])
    (last,) = rows(connection, "select * from chatsync.get_next_queue_message('outbound')")
    connection.execute("select chatsync.complete(%s, %s)", [last.id, last.lease_id])

    assert archived(operator) == ids


def test_an_inbound_delivery_is_archived_with_its_bytes(
    connections: Connections, operator: SyncConnection, worker: SyncConnection
) -> None:
    keep(operator, "inbound", 7)
    inbox = create_inbox(worker)
    worker.execute(
        "select chatsync.enqueue_deliveries(%s, array['c'], array['x']::bytea[])", [[inbox]]
    )
    connection, worker_id = register(connections)
    (claimed,) = rows(connection, "select * from chatsync.claim('inbound', %s, 10)", worker_id)
    connection.execute(
        "select chatsync.apply_inbound_and_settle('[]', '[]', '[]', %s, %s::bigint[], false)",
        [claimed.lease_id, [claimed.id]],
    )

    (kept,) = rows(operator, ARCHIVE)
    assert (kept.id, kept.body) == (claimed.id, b"x")


def test_a_lost_lease_archives_nothing(connections: Connections, operator: SyncConnection) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, None, 1)
    claimed = claim(connection, worker_id)
    connection.execute("select chatsync.release(%s)", [claimed[0].lease_id])

    with pytest.raises(psycopg.DatabaseError, match="is lost"):
        settle(connection, claimed)
    assert archived(operator) == []
    assert count(operator, "message_queue") == 1


def test_the_timeline_tells_what_was_archived(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    message_id = enqueue(connection, "a", 1, p_correlation_id="c")
    (claimed,) = claim(connection, worker_id)
    failure: dict[str, object] = {"id": message_id, "error": "busy", "retryAfterSeconds": 1}
    settle(connection, [claimed], done=[], failed=[failure])
    connection.execute(SET_NOW, ["2026-01-01T00:00:02Z"])
    claimed = claim(connection, worker_id)
    connection.execute(SET_NOW, ["2026-01-01T00:00:03Z"])
    settle(connection, claimed)

    told = rows(operator, "select * from chatsync.timeline('c')")
    assert [(row.what, row.at.second, row.detail.get("error")) for row in told] == [
        ("enqueued", 0, None),
        ("attempted", 0, "busy"),
        ("attempted", 2, None),
        ("done", 3, None),
    ]
    assert (told[0].detail["status"], told[3].detail["attempts"]) == ("done", 2)


def test_the_longest_policy_says_when_a_day_is_dropped(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    keep(operator, "other", 10)
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-05T10:00:00Z"])
    connection.execute("select chatsync.prepare_partitions()")
    enqueue(connection, None, 1)
    settle(connection, claim(connection, worker_id))
    assert value(owner, "select tableoid::regclass::text from chatsync.message_archive") == (
        "chatsync.message_archive_20260105"
    )

    connection.execute(SET_NOW, ["2026-01-15T23:00:00Z"])
    connection.execute(HISTORY)
    assert count(owner, "message_archive") == 1
    connection.execute(SET_NOW, ["2026-01-16T00:00:00Z"])
    assert value(connection, HISTORY) >= 1
    assert value(owner, "select to_regclass('chatsync.message_archive_20260105')") is None


def test_without_any_archive_its_days_go_but_for_the_present_one(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-05T10:00:00Z"])
    connection.execute("select chatsync.prepare_partitions()")
    enqueue(connection, None, 1)
    settle(connection, claim(connection, worker_id))
    keep(operator, "outbound", 0)

    connection.execute(HISTORY)
    assert count(owner, "message_archive") == 1
    connection.execute(SET_NOW, ["2026-01-06T00:00:00Z"])
    connection.execute(HISTORY)
    assert count(owner, "message_archive") == 0


def test_a_day_is_not_dropped_while_somebody_reads_it_and_nobody_waits_long(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection = connections.open("chatsync_worker")
    connection.execute(SET_NOW, ["2026-01-05T10:00:00Z"])
    connection.execute("select chatsync.prepare_partitions()")
    connection.execute(SET_NOW, ["2026-02-05T10:00:00Z"])
    with operator.transaction():
        operator.execute("select count(*) from chatsync.message_archive")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            connection.execute(HISTORY)
    assert value(connection, HISTORY) > 0


def test_a_worker_cannot_change_what_was_written_down(worker: SyncConnection) -> None:
    for statement in (
        "update chatsync.message_archive set metadata = '{}'",
        "delete from chatsync.message_archive",
        "update chatsync.failed_attempts set error = null",
        "delete from chatsync.failed_attempts",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            worker.execute(statement.encode())

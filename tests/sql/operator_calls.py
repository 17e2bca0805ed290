"""What operators look at and call."""

from typing import Any, LiteralString

from psycopg.rows import namedtuple_row

from conftest import SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, settle, value

CANCEL: LiteralString = "select chatsync.cancel_message(%s, %s)"
RETRY: LiteralString = "select chatsync.retry_message(%s)"
# An hour off: nothing runs by itself within a test.
LATER: dict[str, object] = {"error": "busy", "retryAfterSeconds": 3600}


def rows(connection: SyncConnection, query: LiteralString, *parameters: object) -> list[Any]:
    """All rows, by names."""
    cursor = connection.cursor(row_factory=namedtuple_row)
    return cursor.execute(query, parameters).fetchall()


def cancel(connection: SyncConnection, id: int, reason: str | None = "no longer wanted") -> bool:
    return value(connection, CANCEL, [id, reason])


def retry(connection: SyncConnection, id: int) -> bool:
    return value(connection, RETRY, [id])


def enqueue_backing_off(
    connection: SyncConnection, worker_id: int, key: str | None, label: object
) -> int:
    """A message that failed and is tried again in an hour."""
    message_id = enqueue(connection, key, label)
    (claimed,) = claim(connection, worker_id)
    assert claimed.id == message_id
    settle(connection, [claimed], done=[], failed=[{"id": message_id, **LATER}])
    return message_id


def waiting(connection: SyncConnection, queue: str = QUEUE) -> list[int]:
    """Ids of what is in a queue, in order."""
    return [
        row.id
        for row in rows(
            connection, "select id from chatsync.message_queue where queue = %s order by id", queue
        )
    ]


def blocked(connection: SyncConnection) -> list[Any]:
    return rows(connection, "select * from chatsync.queue_blocked order by ordering_key")


def assert_no_lane_is_stranded(owner: SyncConnection) -> None:
    """Each lane with work has its turn, and no free turn waits for longer than its head."""
    assert (
        rows(
            owner,
            "select l.lane, t.ready_at, h.* from chatsync.queue_lanes l"
            " cross join lateral (select m.status, m.scheduled_at from chatsync.message_queue m"
            "  where m.lane_key = l.lane order by m.id limit 1) as h"
            " left join chatsync.lane_turns t on t.lane = l.lane"
            " where t.turn is null or (t.lease_id is null and t.ready_at > chatsync.now()"
            "  and (h.status <> 'retrying' or t.ready_at > h.scheduled_at))",
        )
        == []
    )


def assert_all_come(
    consumer: tuple[SyncConnection, int], owner: SyncConnection, expected: list[str]
) -> None:
    """What is left is claimed in this order, without waiting, and leaves no lane behind."""
    connection, worker_id = consumer
    connection.execute("set lock_timeout = '100ms'")
    assert_no_lane_is_stranded(owner)
    found: list[str] = []
    while claimed := claim(connection, worker_id):
        found += labels(claimed)
        settle(connection, claimed)
    assert found == expected
    assert count(owner, "queue_lanes") == count(owner, "lane_turns") == 0

"""How messages failed: a row for each attempt, a list in each dead letter, told by the timeline."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import cancel, rows
from sql.queue_calls import claim, count, enqueue, reap_until_freed, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

ATTEMPTS = "select * from chatsync.failed_attempts order by failed_at, message_id"
DEAD = "select * from chatsync.failed_messages"
TIMELINE = "select * from chatsync.timeline(%s)"
SET_NOW = "select set_config('chatsync.now', %s, false)"
HISTORY = "select chatsync.drop_history(%s)"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def fail(connection: SyncConnection, worker_id: int, error: str, **named: object) -> int:
    """The next message fails, and may be tried again at once."""
    (claimed,) = claim(connection, worker_id, limit=1)
    failure: dict[str, object] = {"id": claimed.id, "error": error, "retryAfterSeconds": 0}
    settle(connection, [claimed], done=[], failed=[failure | named])
    return int(claimed.id)


def test_each_failed_attempt_is_a_row(connections: Connections, owner: SyncConnection) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:05Z"])
    message_id = enqueue(connection, "a", 1, p_correlation_id="c")
    (claimed,) = claim(connection, worker_id)
    connection.execute(SET_NOW, ["2026-01-01T00:00:07Z"])
    settle(connection, [claimed], done=[], failed=[{"id": message_id, "error": "busy"}])

    (attempt,) = rows(owner, ATTEMPTS)

    assert (attempt.message_id, attempt.tenant_id, attempt.queue) == (message_id, "t1", "outbound")
    assert (attempt.correlation_id, attempt.attempt) == ("c", 1)
    assert (attempt.worker_id, attempt.worker) == (worker_id, "test")
    assert (attempt.claimed_at.second, attempt.failed_at.second) == (5, 7)
    assert (attempt.outcome, attempt.error) == ("failed", "busy")


def test_a_success_writes_nothing(connections: Connections, owner: SyncConnection) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    settle(connection, claim(connection, worker_id))
    enqueue(connection, "a", 1)
    (claimed,) = claim(connection, worker_id)
    settle(connection, [claimed], done=[], untouched=[claimed.id])

    assert count(owner, "failed_attempts") == 0
    assert count(owner, "message_archive") == 0


def test_a_lost_lease_notes_no_attempt(connections: Connections, owner: SyncConnection) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    claimed = claim(connection, worker_id)
    owner.execute("select chatsync.release(%s)", [claimed[0].lease_id])

    with pytest.raises(psycopg.DatabaseError, match="is lost"):
        settle(connection, claimed, done=[], failed=[{"id": claimed[0].id, "error": "late"}])
    assert count(owner, "failed_attempts") == 0


def test_a_dead_letter_has_its_attempts_oldest_first(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    enqueue(connection, "b", "other")
    fail(connection, worker_id, "of another message", retryAfterSeconds=3600)
    enqueue(connection, "a", 1, p_max_retries=2, p_correlation_id="c")
    # Where a session looks from changes nothing.
    connection.execute("set timezone = 'Pacific/Auckland'")
    for second, error in enumerate(("first", "second", "third")):
        connection.execute(SET_NOW, [f"2026-01-01T00:00:0{second}Z"])
        fail(connection, worker_id, error)

    (dead,) = rows(owner, DEAD)
    assert dead.failure_count == 3
    assert dead.attempts == [
        {
            "attempt": number,
            "workerId": worker_id,
            "worker": "test",
            "claimedAt": f"2026-01-01T00:00:0{second}.000Z",
            "failedAt": f"2026-01-01T00:00:0{second}.000Z",
            "outcome": "failed",
            "error": error,
        }
        for number, second, error in ((1, 0, "first"), (2, 1, "second"), (3, 2, "third"))
    ]


def test_a_permanent_error_is_the_only_attempt_of_its_dead_letter(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, None, 1)
    fail(connection, worker_id, "no such number", isPermanent=True)

    (dead,) = rows(owner, DEAD)
    assert [attempt["error"] for attempt in dead.attempts] == ["no such number"]


def test_a_cancelled_message_keeps_how_it_failed(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    message_id = fail(connection, worker_id, "busy")
    cancel(operator, message_id)

    (dead,) = rows(operator, DEAD)
    assert [attempt["error"] for attempt in dead.attempts] == ["busy"]


def test_a_plain_sql_worker_notes_its_attempts(
    connections: Connections, owner: SyncConnection
) -> None:
    connection = connections.open("chatsync_worker")
    connection.execute("set application_name = 'cron'")
    enqueue(connection, None, 1)
    (claimed,) = rows(connection, "select * from chatsync.get_next_queue_message('outbound')")
    connection.execute("select chatsync.fail(%s, %s, 'busy')", [claimed.id, claimed.lease_id])

    (attempt,) = rows(owner, ATTEMPTS)
    assert attempt.worker.startswith("cron:")
    assert (attempt.attempt, attempt.error) == (1, "busy")


def test_the_death_of_a_worker_is_an_attempt(
    connections: Connections, owner: SyncConnection
) -> None:
    reaper, _ = register(connections)
    message_id = enqueue(reaper, "a", 1)
    for _ in range(2):
        victim, worker_id = register(connections)
        assert [row.id for row in claim(victim, worker_id)] == [message_id]
        victim.close()
        assert reap_until_freed(reaper) == 1

    (dead,) = rows(owner, DEAD)
    assert dead.error_message == "killed its worker twice"
    assert [(a["attempt"], a["outcome"], a["error"]) for a in dead.attempts] == [
        (1, "worker_died", "its worker died"),
        (2, "worker_died", "its worker died"),
    ]


def test_a_dead_letter_keeps_the_last_hundred_attempts(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    message_id = enqueue(connection, None, 1, p_max_retries=120)
    owner.execute(
        "insert into chatsync.failed_attempts"
        " (message_id, tenant_id, queue, correlation_id, attempt, failed_at, outcome)"
        " select %s, 't1', 'outbound', 'c', n, now() - (200 - n) * interval '1 s', 'failed'"
        " from generate_series(1, 120) as n",
        [message_id],
    )
    owner.execute("update chatsync.message_queue set retry_count = 120")
    fail(connection, worker_id, "last")

    (dead,) = rows(owner, DEAD)
    assert [attempt["attempt"] for attempt in dead.attempts] == list(range(22, 122))


def test_what_dies_again_after_a_redrive_says_where_it_came_from(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    first = enqueue(connection, "a", 1, p_correlation_id="c", p_metadata=Jsonb({"trace": 1}))
    fail(connection, worker_id, "one", isPermanent=True)
    (failed,) = rows(operator, DEAD)
    operator.execute("select chatsync.redrive('outbound')")
    again = fail(connection, worker_id, "two", isPermanent=True)

    (dead,) = rows(operator, DEAD)
    assert (dead.original_message_id, dead.correlation_id) == (again, "c")
    assert dead.metadata == {
        "trace": 1,
        "originalMessageId": first,
        "redrivenFrom": failed.id,
        "failureCount": 1,
    }
    told = [row.detail for row in rows(operator, TIMELINE, "c") if row.what == "attempted"]
    assert [(detail["id"], detail["error"]) for detail in told] == [(first, "one"), (again, "two")]


def test_the_timeline_tells_each_attempt_with_its_error(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    enqueue(connection, "a", 1, p_correlation_id="c")
    for second, error in ((1, "one"), (2, "two")):
        connection.execute(SET_NOW, [f"2026-01-01T00:00:0{second}Z"])
        fail(connection, worker_id, error)
    connection.execute(SET_NOW, ["2026-01-01T00:00:03Z"])
    claimed = claim(connection, worker_id)

    told = rows(operator, TIMELINE, "c")
    assert [
        (row.what, row.at.second, row.detail.get("attempt"), row.detail.get("error"))
        for row in told
    ] == [
        ("enqueued", 0, None, None),
        ("attempted", 1, 1, "one"),
        ("attempted", 2, 2, "two"),
        ("attempted", 3, 3, None),
    ]

    # Nor are they forgotten with the message.
    settle(connection, claimed)
    told = rows(operator, TIMELINE, "c")
    assert [row.detail["error"] for row in told] == ["one", "two"]


def test_a_dead_letter_tells_its_attempts_when_their_day_is_gone(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1, p_max_retries=1, p_correlation_id="c")
    for error in ("one", "two"):
        fail(connection, worker_id, error)
    before = rows(operator, TIMELINE, "c")
    owner.execute("truncate chatsync.failed_attempts")
    after = rows(operator, TIMELINE, "c")

    assert [row.what for row in after] == ["attempted", "attempted", "dead_lettered"]
    assert [row.detail for row in after] == [row.detail for row in before]


def test_the_timeline_leaves_out_attempts_that_are_older_than_asked_for(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1, p_correlation_id="c")
    fail(connection, worker_id, "busy", isPermanent=True)
    since = (
        "select count(*) from chatsync.timeline('c', now() + %s::interval) where what = 'attempted'"
    )

    assert value(operator, since, ["-1 h"]) == 1
    assert value(operator, since, ["1 h"]) == 0


def test_days_of_attempts_are_dropped_whole(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for session in (connection, worker):
        session.execute(SET_NOW, ["2026-01-05T10:00:00Z"])
    worker.execute("select chatsync.prepare_partitions()")
    enqueue(connection, "a", 1)
    fail(connection, worker_id, "busy")
    assert value(owner, "select tableoid::regclass::text from chatsync.failed_attempts") == (
        "chatsync.failed_attempts_20260105"
    )

    worker.execute(SET_NOW, ["2026-01-12T10:00:00Z"])
    value(worker, HISTORY, [7])
    assert count(owner, "failed_attempts") == 1
    worker.execute(SET_NOW, ["2026-01-13T00:00:00Z"])
    assert value(worker, HISTORY, [7]) >= 1
    assert count(owner, "failed_attempts") == 0
    assert value(owner, "select to_regclass('chatsync.failed_attempts_20260105')") is None


def test_attempts_of_a_day_without_a_partition_are_moved_when_it_has_one(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-05T10:00:00Z"])
    enqueue(connection, "a", 1)
    fail(connection, worker_id, "busy")
    place = "select tableoid::regclass::text from chatsync.failed_attempts"
    assert value(owner, place) == "chatsync.failed_attempts_default"

    worker.execute(SET_NOW, ["2026-01-05T11:00:00Z"])
    worker.execute("select chatsync.prepare_partitions()")
    assert value(owner, place) == "chatsync.failed_attempts_20260105"
    fail(connection, worker_id, "again")
    assert count(owner, "failed_attempts") == 2

"""What operators set for a queue, and dead letters that expire by it."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import rows
from sql.queue_calls import count, value

pytestmark = pytest.mark.usefixtures("tenant")

EXPIRE = "select chatsync.expire_dead_letters(%s)"
POLICY = "select * from chatsync.queue_policies where queue = 'outbound'"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def add_dead(owner: SyncConnection, queue: str, *days: float) -> None:
    """Dead letters that are so many days old."""
    owner.execute(
        "insert into chatsync.failed_messages"
        " (queue, tenant_id, correlation_id, message_type, error_message, failed_at)"
        " select %s, 't1', 'c', 'x', d::text, now() - d * interval '1 day'"
        " from unnest(%s::float[]) as d",
        [queue, list(map(float, days))],
    )


def left(connection: SyncConnection) -> list[tuple[str, float]]:
    """What there is of dead letters, by queue and age."""
    return [
        (row.queue, float(row.error_message))
        for row in rows(
            connection,
            "select queue, error_message from chatsync.failed_messages"
            " order by queue, failed_at desc",
        )
    ]


def test_what_is_not_given_stays_as_it_is(operator: SyncConnection) -> None:
    set_policy = "select * from chatsync.set_policy('outbound', "
    (new,) = rows(operator, set_policy + "p_archive_days => 3)")
    assert new == ("outbound", "block", 1, 300, 3, 90)
    (changed,) = rows(operator, set_policy + "'skip', 2, 60, p_dead_letter_days => 0)")
    assert changed == ("outbound", "skip", 2, 60, 3, 0)
    assert rows(operator, set_policy + "null)") == rows(operator, POLICY) == [changed]


@pytest.mark.parametrize(
    "given",
    [
        "'outbound', 'stop'",
        "'outbound', p_archive_days => -1",
        "'outbound', p_dead_letter_days => 36501",
        "'outbound', p_backoff_base_seconds => 301",
        "'Not a queue'",
    ],
)
def test_a_policy_that_cannot_be_is_refused_and_changes_nothing(
    operator: SyncConnection, given: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        operator.execute(f"select chatsync.set_policy({given})".encode())
    assert count(operator, "queue_policies") == 0


def test_dead_letters_expire_after_ninety_days_unless_the_queue_says_otherwise(
    owner: SyncConnection, operator: SyncConnection, worker: SyncConnection
) -> None:
    operator.execute("select chatsync.set_policy('kept', p_dead_letter_days => 0)")
    operator.execute("select chatsync.set_policy('short', p_dead_letter_days => 7)")
    operator.execute("select chatsync.set_policy('usual')")
    for queue in ("a", "kept", "short", "usual"):
        add_dead(owner, queue, 6.9, 7.1, 89.9, 90.1, 5000)

    assert value(worker, EXPIRE, [1000]) == 2 + 0 + 4 + 2

    assert left(owner) == [
        *[("a", age) for age in (6.9, 7.1, 89.9)],
        *[("kept", age) for age in (6.9, 7.1, 89.9, 90.1, 5000)],
        ("short", 6.9),
        *[("usual", age) for age in (6.9, 7.1, 89.9)],
    ]
    assert value(worker, EXPIRE, [1000]) == 0


def test_dead_letters_expire_in_steps_the_oldest_first(
    owner: SyncConnection, worker: SyncConnection
) -> None:
    add_dead(owner, "a", *range(91, 101))
    add_dead(owner, "b", 200)
    expired = [value(worker, EXPIRE, [4])]
    assert left(owner)[-2:] == [("a", 96), ("b", 200)]
    expired += [value(worker, EXPIRE, [4]) for _ in range(3)]

    assert expired == [4, 4, 3, 0]
    assert left(owner) == []


def test_nothing_expires_where_there_is_nothing(worker: SyncConnection) -> None:
    assert value(worker, EXPIRE, [10]) == 0


def test_two_workers_that_expire_share_and_neither_waits(
    connections: Connections, owner: SyncConnection, worker: SyncConnection
) -> None:
    add_dead(owner, "a", 100, 101, 102)
    other = connections.open("chatsync_worker")
    other.execute("set lock_timeout = '100ms'")
    with worker.transaction():
        assert value(worker, EXPIRE, [2]) == 2
        assert value(other, EXPIRE, [2]) == 1
    assert left(owner) == []


def test_what_is_being_redriven_does_not_expire(
    connections: Connections, owner: SyncConnection, operator: SyncConnection
) -> None:
    add_dead(owner, "a", 100)
    other = connections.open("chatsync_worker")
    other.execute("set lock_timeout = '100ms'")
    with operator.transaction():
        operator.execute("select chatsync.redrive('a')")
        assert value(other, EXPIRE, [10]) == 0
    assert count(owner, "message_queue") == 1


def test_a_redrive_meanwhile_finds_nothing_of_what_expires(
    connections: Connections, owner: SyncConnection, worker: SyncConnection
) -> None:
    add_dead(owner, "a", 100)
    operator = connections.open("chatsync_operator")
    with worker.transaction():
        assert value(worker, EXPIRE, [10]) == 1
        assert value(operator, "select count(*) from chatsync.redrive('a')") == 0
    assert count(owner, "message_queue") == 0
    assert count(owner, "failed_messages") == 0

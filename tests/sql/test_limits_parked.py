"""What waits for room while something else becomes of it: nothing of it is ever stranded."""

from collections import Counter
from collections.abc import Callable

import pytest

from conftest import Connections, SyncConnection
from sql.limit_calls import assert_nothing_is_left, enqueue_for, limit, rate
from sql.operator_calls import cancel, retry, rows
from sql.queue_calls import (
    QUEUE,
    claim,
    count,
    labels,
    reap_until_freed,
    register,
    settle,
    value,
)  # fmt: skip

KEYS = pytest.mark.parametrize("key", ["k{}", None], ids=["keyed", "keyless"])
Parked = Callable[[str | None], tuple[SyncConnection, int]]


@pytest.fixture
def parked(connections: Connections) -> Parked:
    """Two of t1 run, which is its limit, and four wait for room; nobody has the two of t2."""

    def make(key: str | None) -> tuple[SyncConnection, int]:
        connection, worker_id = register(connections)
        for tenant in ("t1", "t2"):
            value(connection, "select chatsync.create_tenant(%s)", [tenant])
        limit(connection, 2, "tenant")
        for label in range(6):
            enqueue_for(connection, "t1", key and key.format(label), label)
        assert len(claim(connection, worker_id)) == 2
        assert claim(connection, worker_id) == []
        assert len(waiting_for_room(connection)) == 4
        return connection, worker_id

    return make


def waiting_for_room(connection: SyncConnection, queue: str = QUEUE) -> list[int]:
    return [
        row.id
        for row in rows(
            connection,
            "select m.id from chatsync.message_queue m"
            " left join chatsync.lane_turns t on t.lane = m.lane_key"
            " where m.queue = %s and coalesce(m.parked_by, t.parked_by) is not null order by m.id",
            queue,
        )
    ]


def settle_what_runs(connection: SyncConnection) -> None:
    for row in rows(
        connection,
        "select lease_id, array_agg(id) as ids from chatsync.message_queue"
        " where lease_id is not null group by lease_id",
    ):
        value(connection, "select chatsync.settle(%s, %s)", [row.lease_id, row.ids])


def drain(connection: SyncConnection, worker_id: int) -> list[str]:
    """Labels of what was done, two at most at once."""
    done: list[str] = []
    settle_what_runs(connection)
    while claimed := claim(connection, worker_id):
        assert max(Counter(row.tenant_id for row in claimed).values()) <= 2
        assert len(claimed) == 1 or not any(row.deaths for row in claimed)
        done += labels(claimed)
        settle(connection, claimed)
    assert claim(connection, worker_id) == []
    assert_nothing_is_left(connection)
    return done


@KEYS
def test_what_is_cancelled_is_not_waited_for(parked: Parked, key: str | None) -> None:
    connection, worker_id = parked(key)
    first, *others = waiting_for_room(connection)
    assert cancel(connection, first) is True
    assert retry(connection, others[0]) is False
    assert sorted(drain(connection, worker_id)) == ["3", "4", "5"]


@KEYS
def test_a_bucket_of_which_all_was_purged_is_crowded_no_longer(
    parked: Parked, key: str | None
) -> None:
    connection, worker_id = parked(key)
    assert value(connection, "select chatsync.purge_queue(%s)", [QUEUE]) == 4
    assert drain(connection, worker_id) == []


@KEYS
def test_what_is_moved_waits_for_no_bucket_of_the_queue_it_left(
    parked: Parked, key: str | None
) -> None:
    connection, worker_id = parked(key)
    assert value(connection, "select chatsync.move_messages(%s, 'other')", [QUEUE]) == 4
    value(connection, "select chatsync.pause('other', 't1')")
    assert value(connection, "select count(*) from chatsync.claim('other', %s)", [worker_id]) == 0
    value(connection, "select chatsync.resume('other', 't1')")
    assert value(connection, "select count(*) from chatsync.claim('other', %s)", [worker_id]) == 4
    settle_what_runs(connection)
    assert drain(connection, worker_id) == []


@KEYS
def test_what_is_paused_while_it_waits_for_room_goes_on_when_it_is_resumed(
    parked: Parked, key: str | None
) -> None:
    connection, worker_id = parked(key)
    value(connection, "select chatsync.pause(%s, 't1')", [QUEUE])
    settle_what_runs(connection)
    assert claim(connection, worker_id) == []
    assert waiting_for_room(connection) == []
    value(connection, "select chatsync.resume(%s, 't1')", [QUEUE])
    assert drain(connection, worker_id) == ["2", "3", "4", "5"]


@KEYS
def test_dead_letters_that_come_back_wait_for_room_as_the_others(
    parked: Parked, key: str | None
) -> None:
    connection, worker_id = parked(key)
    for message_id in waiting_for_room(connection):
        cancel(connection, message_id)
    assert len(rows(connection, "select * from chatsync.redrive(%s)", QUEUE)) == 4
    assert claim(connection, worker_id) == []
    assert len(waiting_for_room(connection)) == 4
    assert drain(connection, worker_id) == ["2", "3", "4", "5"]


@KEYS
def test_suspects_wait_for_room_and_run_alone(
    parked: Parked, connections: Connections, key: str | None
) -> None:
    connection, _ = parked(key)
    other, other_id = register(connections)
    connection.close()
    reap_until_freed(other)
    alone = claim(other, other_id)
    limit(other, 1, "tenant")

    assert labels(alone) == ["0"]
    assert claim(other, other_id) == []
    settle(other, alone)
    assert sorted(drain(other, other_id)) == ["1", "2", "3", "4", "5"]


@KEYS
def test_a_worker_that_dies_makes_room(
    parked: Parked, connections: Connections, key: str | None
) -> None:
    connection, _ = parked(key)
    other, other_id = register(connections)
    assert claim(other, other_id) == []
    connection.close()
    reap_until_freed(other)
    assert sorted(drain(other, other_id)) == ["0", "1", "2", "3", "4", "5"]


@KEYS
def test_a_limit_that_is_set_while_things_run_counts_them(parked: Parked, key: str | None) -> None:
    connection, worker_id = parked(key)
    limit(connection, 3, "queue")
    for label in range(3):
        enqueue_for(connection, "t2", key and key.format(label), label)
    assert len(claim(connection, worker_id)) == 1
    assert claim(connection, worker_id) == []
    limit(connection, 1, "queue")
    assert claim(connection, worker_id) == []
    assert len(drain(connection, worker_id)) == 6


@KEYS
def test_a_claim_that_is_undone_leaves_nothing(connections: Connections, key: str | None) -> None:
    connection, worker_id = register(connections)
    value(connection, "select chatsync.create_tenant('t1')")
    limit(connection, 2, "tenant")
    rate(connection, 2, "1 day", "inbox", burst=2)
    for label in range(4):
        enqueue_for(connection, "t1", key and key.format(label), label)
    with connection.transaction(force_rollback=True):
        assert len(claim(connection, worker_id)) == 2
    assert count(connection, "limit_buckets") == 0
    assert len(claim(connection, worker_id)) == 2

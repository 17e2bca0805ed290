"""Limits: how fast messages go."""

import pytest

from conftest import Connections, SyncConnection
from sql.limit_calls import enqueue_for, rate
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value


@pytest.fixture
def worker(connections: Connections) -> tuple[SyncConnection, int]:
    connection, worker_id = register(connections)
    for tenant in ("t1", "t2"):
        value(connection, "select chatsync.create_tenant(%s)", [tenant])
    return connection, worker_id


def at(connection: SyncConnection, seconds: float) -> None:
    """Set the clock to so long after a moment in the future."""
    connection.execute(
        "select set_config('chatsync.now',"
        " (timestamptz '2100-01-01' + make_interval(secs => %s))::text, false)",
        [seconds],
    )


KEYS = pytest.mark.parametrize("key", ["k{}", None], ids=["keyed", "keyless"])


def test_a_key_goes_no_faster_than_its_rate(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    at(connection, 0)
    rate(connection, 1, "6 seconds", "key")
    for label in range(3):
        enqueue(connection, "a", label)
        enqueue(connection, "b", label)

    settle(connection, claim(connection, worker_id))
    for tick in range(1, 3):
        at(connection, 6 * tick - 0.001)
        assert claim(connection, worker_id) == []
        due = value(
            connection,
            "select chatsync.next_ready_at(%s) = timestamptz '2100-01-01' + %s * interval '6 s'",
            [QUEUE, tick],
        )
        assert due is True
        at(connection, 6 * tick)
        claimed = claim(connection, worker_id)
        assert labels(claimed) == [str(tick)] * 2
        settle(connection, claimed)
    assert count(connection, "message_queue") == 0


@KEYS
@pytest.mark.parametrize("per", ["queue", "tenant", "inbox"])
def test_a_rate_lets_a_burst_through_and_then_its_rate(
    worker: tuple[SyncConnection, int], key: str | None, per: str
) -> None:
    connection, worker_id = worker
    at(connection, 0)
    rate(connection, 10, "1 second", per, burst=3)
    for label in range(20):
        enqueue_for(connection, "t1", key and key.format(label), label)
    taken = dict[int, int]()

    for tick in range(0, 1050, 50):
        at(connection, tick / 1000)
        claimed = claim(connection, worker_id)
        taken[tick] = len(claimed)
        if claimed:
            settle(connection, claimed)

    assert taken == {0: 3} | {tick: int(tick % 100 == 0) for tick in range(50, 1050, 50)}


def test_a_rate_says_when_the_next_message_may_go(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    at(connection, 0)
    rate(connection, 4, "1 second", "inbox", burst=2)
    for label in range(5):
        enqueue_for(connection, "t1", f"k{label}", label)
    settle(connection, claim(connection, worker_id))
    assert claim(connection, worker_id) == []

    due = "select extract(epoch from chatsync.next_ready_at(%s) - timestamptz '2100-01-01')::float"
    assert value(connection, due, [QUEUE]) == pytest.approx(0.25)


def test_a_rate_at_rest_is_forgotten(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    at(connection, 0)
    rate(connection, 1, "1 second", "key")
    enqueue(connection, "k", 0)
    settle(connection, claim(connection, worker_id))
    assert value(connection, "select chatsync.forget_buckets()") == 0
    at(connection, 90)
    assert value(connection, "select chatsync.forget_buckets()") == 1
    assert count(connection, "limit_buckets") == 0

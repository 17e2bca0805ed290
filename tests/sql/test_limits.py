"""Limits: what runs at once, and nobody else starves."""

from collections import Counter

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.limit_calls import enqueue_for, limit, rate
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value


@pytest.fixture
def worker(connections: Connections) -> tuple[SyncConnection, int]:
    connection, worker_id = register(connections)
    for tenant in ("t1", "t2"):
        value(connection, "select chatsync.create_tenant(%s)", [tenant])
    return connection, worker_id


KEYS = pytest.mark.parametrize("key", ["k{}", None], ids=["keyed", "keyless"])


@KEYS
@pytest.mark.parametrize("per", ["queue", "tenant", "inbox"])
def test_no_more_are_in_flight_than_a_limit_allows(
    worker: tuple[SyncConnection, int], key: str | None, per: str
) -> None:
    connection, worker_id = worker
    limit(connection, 3, per)
    for label in range(8):
        enqueue_for(connection, "t1", key and key.format(label), label)

    first = claim(connection, worker_id)
    assert labels(first) == ["0", "1", "2"]
    assert claim(connection, worker_id) == []

    settle(connection, first[:1], done=[first[0].id], untouched=[row.id for row in first[1:]])
    # A message that came back is first in line again; a lane that came back has had its turn.
    assert labels(claim(connection, worker_id)) == (
        ["1", "2", "3"] if key is None else ["3", "4", "5"]
    )
    assert claim(connection, worker_id) == []


def test_a_limit_of_one_tenant_keeps_no_other_waiting(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 2, "tenant")
    for label in range(150):
        enqueue_for(connection, "t1", f"k{label}", label)
    for label in range(2):
        enqueue_for(connection, "t2", f"k{label}", label)
        enqueue_for(connection, "t2", None, label)

    claimed = claim(connection, worker_id)

    assert Counter(row.tenant_id for row in claimed) == {"t1": 2, "t2": 2}


def test_a_narrow_limit_leaves_its_room_in_the_wide_one(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 4, "queue")
    limit(connection, 1, "tenant", "t1")
    for label in range(5):
        enqueue_for(connection, "t1", f"k{label}", label)
    for label in range(5):
        enqueue_for(connection, "t2", f"k{label}", label)

    claimed = claim(connection, worker_id)

    assert Counter(row.tenant_id for row in claimed) == {"t1": 1, "t2": 3}


def test_an_exception_holds_for_its_tenant_alone(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant")
    limit(connection, 3, "tenant", "t2")
    for label in range(5):
        enqueue_for(connection, "t1", None, label)
        enqueue_for(connection, "t2", None, label)

    assert Counter(row.tenant_id for row in claim(connection, worker_id)) == {"t1": 1, "t2": 3}


def test_a_lane_gives_as_much_as_has_room_and_keeps_its_order(
    worker: tuple[SyncConnection, int],
) -> None:
    connection, worker_id = worker
    limit(connection, 2, "queue")
    for label in range(5):
        enqueue(connection, "k", label)
    seen = list[str]()
    while claimed := claim(connection, worker_id):
        assert len(claimed) <= 2
        seen += labels(claimed)
        settle(connection, claimed)

    assert seen == ["0", "1", "2", "3", "4"]
    assert count(connection, "message_queue") == 0


def test_what_a_settlement_makes_room_for_is_said_to_be_waiting(
    worker: tuple[SyncConnection, int],
) -> None:
    connection, worker_id = worker
    limit(connection, 1, "queue")
    enqueue(connection, "a", 0)
    enqueue(connection, "b", 1)
    claimed = claim(connection, worker_id)
    assert claim(connection, worker_id) == []

    has_more = value(
        connection, "select chatsync.settle(%s, %s)", [claimed[0].lease_id, [claimed[0].id]]
    )

    assert has_more is True
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_limit_that_is_lifted_holds_nothing_back(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant")
    rate(connection, 1, "1 day", "key")
    for label in range(3):
        enqueue(connection, f"k{label}", label)
        enqueue(connection, f"k{label}", label)
    settle(connection, claim(connection, worker_id))
    settle(connection, claim(connection, worker_id))

    lift = "select chatsync.lift_limit(%s, %s, %s)"
    assert value(connection, lift, [QUEUE, "in_flight", "tenant"]) is True
    assert value(connection, lift, [QUEUE, "in_flight", "tenant"]) is False
    assert value(connection, lift, [QUEUE, "rate", "key"]) is True

    assert len(claim(connection, worker_id)) == 4


def test_what_waits_for_room_comes_by_rank(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant")
    running = enqueue(connection, "running", "running")
    claimed = claim(connection, worker_id)
    for label, priority in (("low", 0), ("high", 3), ("middle", 1)):
        enqueue(connection, label, label, p_priority=priority)
    assert claim(connection, worker_id) == []
    seen = list[str]()
    assert claimed[0].id == running
    while claimed:
        settle(connection, claimed)
        claimed = claim(connection, worker_id)
        seen += labels(claimed)

    assert seen == ["high", "middle", "low"]


def test_a_pause_outlasts_the_room(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant")
    enqueue(connection, "a", 0)
    enqueue(connection, "b", 1)
    claimed = claim(connection, worker_id)
    assert claim(connection, worker_id) == []
    value(connection, "select chatsync.pause(%s, 't1', p_ordering_key => 'b')", [QUEUE])
    settle(connection, claimed)

    assert claim(connection, worker_id) == []
    value(connection, "select chatsync.resume(%s, 't1', p_ordering_key => 'b')", [QUEUE])
    assert labels(claim(connection, worker_id)) == ["1"]


@pytest.mark.parametrize(
    ("call", "constraint"),
    [
        ("limit_in_flight('q', 0)", "amount_is_positive"),
        ("limit_in_flight('q', 1, 'key')", "kind_goes_by_its_scope"),
        ("limit_in_flight('q', 1, 'planet')", "per_is_known"),
        ("limit_in_flight('q', 1, 'queue', 't1')", "exception_is_of_its_scope"),
        ("limit_in_flight('q', 1, 'tenant', 't1', 7)", "exception_is_of_its_scope"),
        ("limit_in_flight('Q!', 1)", "queue_is_plain"),
        ("limit_rate('q', 1, '0')", "rate_has_its_time"),
        ("limit_rate('q', 1, '-1 s')", "rate_has_its_time"),
        ("limit_rate('q', 1, '1 s', p_burst => 0)", "rate_has_its_time"),
        ("limit_rate('q', 1, null)", "rate_has_its_time"),
        ("limit_depth('q', -1)", "amount_is_positive"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    worker: tuple[SyncConnection, int], call: str, constraint: str
) -> None:
    connection, _ = worker
    with pytest.raises(psycopg.DatabaseError, match=constraint):
        connection.execute(f"select chatsync.{call}".encode())


def test_a_claim_goes_on_behind_what_turns_out_to_be_paused(
    worker: tuple[SyncConnection, int],
) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant")
    for label in range(30):
        enqueue(connection, f"k{label:02}", label)
    first = claim(connection, worker_id)
    assert claim(connection, worker_id) == []
    for label in range(1, 29):
        value(
            connection,
            "select chatsync.pause(%s, 't1', p_ordering_key => %s)",
            [QUEUE, f"k{label:02}"],
        )
    settle(connection, first)

    assert labels(claim(connection, worker_id)) == ["29"]


def test_lanes_that_a_claim_did_not_look_at_keep_their_places(
    worker: tuple[SyncConnection, int],
) -> None:
    connection, worker_id = worker
    limit(connection, 1, "tenant", "t1")
    enqueue_for(connection, "t1", "a", 0)
    assert len(claim(connection, worker_id, 1)) == 1
    limit(connection, 2, "tenant", "t1")
    for tenant, key in (("t1", "b"), ("t1", "c"), ("t2", "d"), ("t2", "e")):
        enqueue_for(connection, tenant, key, key)
    turns = "select array_agg(turn order by turn) from chatsync.lane_turns where lane like %s"
    before = value(connection, turns, ["%/t2/%"])

    assert labels(claim(connection, worker_id, 1)) == ["b"]
    assert labels(claim(connection, worker_id, 1)) == ["d"]

    assert value(connection, turns, ["%/t2/%"]) == before


def test_a_queue_without_room_parks_nothing(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    limit(connection, 1, "queue")
    for label in range(3):
        enqueue(connection, f"k{label}", label)
        enqueue(connection, None, label)
    claim(connection, worker_id)
    assert claim(connection, worker_id) == []

    parked = "select count(*) from chatsync.lane_turns where is_parked"
    assert value(connection, parked) == 0
    assert (
        value(connection, "select count(*) from chatsync.message_queue where status = 'paused'")
        == 0
    )

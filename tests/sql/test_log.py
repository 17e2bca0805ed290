"""Commit, then stamp: dense numbers for whatever was committed."""

from itertools import groupby

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.log_calls import Numbered, epochs, publish, read, stamp
from sql.queue_calls import value
from sql.stepping import Stepper

TENANTS = ("t1", "t2", "t3")


@pytest.fixture(autouse=True)
def tenants(worker: SyncConnection) -> None:
    for tenant in TENANTS:
        worker.execute("select chatsync.create_tenant(%s)", [tenant])


def test_numbers_are_dense_for_each_tenant_in_the_order_of_publishing(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    published = [TENANTS[number * number % 3] for number in range(30)]
    for number, tenant in enumerate(published):
        publish(worker, tenant, number)

    while stamp(worker, limit=7):
        pass

    events = read(owner, dict.fromkeys(TENANTS, 0))
    for tenant, of_tenant in groupby(events, key=lambda event: event.tenant):
        labels = [number for number, its in enumerate(published) if its == tenant]
        assert list(of_tenant) == [
            Numbered(tenant, seq, label) for seq, label in enumerate(labels, start=1)
        ]
    assert len(events) == 30


def test_stamping_tells_the_heads_of_the_logs_that_grew(worker: SyncConnection) -> None:
    assert stamp(worker) == {}
    for tenant in ("t1", "t2", "t1"):
        publish(worker, tenant, 0)
    assert stamp(worker) == {"t1": 2, "t2": 1}
    publish(worker, "t2", 0)
    assert stamp(worker) == {"t2": 2}

    positions = worker.execute(
        "select tenant_id, head, trimmed_to from chatsync.stream_positions(%s) order by 1",
        [["t1", "t2", "t3", "unknown"]],
    ).fetchall()
    assert positions == [("t1", 2, 0), ("t2", 2, 0), ("t3", 0, 0)]


def test_an_uncommitted_event_holds_up_nobody_and_gets_its_number_after_its_commit(
    connections: Connections, worker: SyncConnection
) -> None:
    slow = connections.open("chatsync_worker")
    with slow.transaction():
        publish(slow, "t1", "slow")
        publish(worker, "t1", "fast")
        assert stamp(worker) == {"t1": 1}
        assert stamp(worker) == {}
    assert stamp(worker) == {"t1": 2}

    assert read(worker, {"t1": 0}) == [Numbered("t1", 1, "fast"), Numbered("t1", 2, "slow")]


def test_what_is_rolled_back_leaves_no_hole(worker: SyncConnection) -> None:
    publish(worker, "t1", "before")
    with worker.transaction(force_rollback=True):
        publish(worker, "t1", "undone")
    publish(worker, "t1", "after")
    stamp(worker)

    assert [event.label for event in read(worker, {"t1": 0})] == ["before", "after"]


def test_who_does_not_get_the_lock_is_told_and_finds_its_event_waiting_afterwards(
    connections: Connections, worker: SyncConnection
) -> None:
    holder = connections.open("chatsync_gateway")
    with holder.transaction():
        assert stamp(holder) == {}
        publish(worker, "t1", "late")
        assert stamp(worker) is None
    assert value(holder, "select chatsync.outbox_waiting()") is True
    assert stamp(holder) == {"t1": 1}


@pytest.mark.parametrize(
    "level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
)
def test_stamping_in_an_older_snapshot_is_refused(
    worker: SyncConnection, level: psycopg.IsolationLevel
) -> None:
    publish(worker, "t1", 0)
    worker.isolation_level = level

    with worker.transaction(), pytest.raises(psycopg.DatabaseError) as caught:
        stamp(worker)
    assert caught.value.sqlstate == "CS003"
    worker.isolation_level = None
    assert stamp(worker) == {"t1": 1}


def test_the_first_event_of_a_tenant_without_a_stream_begins_one(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("insert into chatsync.tenants (tenant_id, name) values ('plain', 'plain')")
    publish(worker, "plain", 0)

    assert stamp(worker) == {"plain": 1}
    assert "plain" in epochs(owner)


def test_an_event_that_is_committed_while_streams_are_made_is_not_lost(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    worker.execute(
        "insert into chatsync.tenants (tenant_id, name) values ('new', ''), ('newer', '')"
    )
    publish(worker, "new", 0)
    stamping = connections.open("chatsync_gateway")
    owner.execute("begin")
    owner.execute("insert into chatsync.streams (tenant_id) values ('new')")
    running = stepper.start_and_wait(stamping, "select chatsync.stamp()")
    publish(worker, "newer", 0)
    owner.execute("commit")
    running.result()

    while value(worker, "select chatsync.outbox_waiting()"):
        stamp(worker)
    assert read(owner, {"new": 0, "newer": 0}) == [
        Numbered("new", 1, 0),
        Numbered("newer", 1, 0),
    ]


def test_an_event_for_an_unknown_tenant_is_refused(worker: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="unknown tenant nobody"):
        publish(worker, "nobody", 0)


def test_events_of_several_tenants_are_read_in_order_up_to_the_limit_of_each(
    worker: SyncConnection,
) -> None:
    for number in range(5):
        for tenant in TENANTS:
            publish(worker, tenant, number)
    stamp(worker)

    events = read(worker, {"t2": 3, "t1": 0, "t3": 5}, limit=2)

    assert events == [
        Numbered("t1", 1, 0),
        Numbered("t1", 2, 1),
        Numbered("t2", 4, 3),
        Numbered("t2", 5, 4),
    ]

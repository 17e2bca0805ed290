"""Epochs: a log in another life of the database is another log."""

import pytest

from conftest import Connections, SyncConnection
from sql.log_calls import epochs, publish, stamp
from sql.queue_calls import count, value
from sql.stepping import Stepper


@pytest.fixture(autouse=True)
def tenants(worker: SyncConnection) -> None:
    for tenant in ("t1", "t2"):
        worker.execute("select chatsync.create_tenant(%s)", [tenant])
        publish(worker, tenant, 0)


def test_the_first_stamp_of_all_remembers_the_cluster_and_keeps_the_epochs(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    before = epochs(owner)
    assert count(owner, "cluster_identity") == 0

    stamp(worker)

    assert epochs(owner) == before
    assert value(
        owner,
        "select i.system_identifier = c.system_identifier and length(i.timeline) = 8"
        " from chatsync.cluster_identity i, pg_control_system() c",
    )


def test_epochs_stay_as_long_as_the_cluster_is_the_same(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    before = epochs(owner)
    for number in range(3):
        publish(worker, "t1", number)
        stamp(worker)

    assert epochs(owner) == before


@pytest.mark.parametrize("column", ["system_identifier = 1", "timeline = 'FFFFFFFF'"])
def test_a_stamp_on_another_cluster_or_timeline_opens_new_epochs_once(
    worker: SyncConnection, owner: SyncConnection, column: str
) -> None:
    stamp(worker)
    before = epochs(owner)
    owner.execute(f"update chatsync.cluster_identity set {column}".encode())

    publish(worker, "t1", 1)
    assert stamp(worker) == {"t1": 2}

    after = epochs(owner)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    stamp(worker)
    assert epochs(owner) == after


def test_even_a_stamp_without_events_notices_another_cluster(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    stamp(worker)
    before = epochs(owner)
    owner.execute("update chatsync.cluster_identity set system_identifier = 1")

    assert stamp(worker) == {}

    assert not set(epochs(owner).values()) & set(before.values())


def test_epochs_are_random_and_each_tenants_own(owner: SyncConnection) -> None:
    found = epochs(owner)
    assert len(set(found.values())) == len(found) == 2
    assert all(len(epoch) == 32 for epoch in found.values())


def test_new_epochs_can_be_asked_for_and_numbers_go_on(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    stamp(worker)
    before = epochs(owner)

    assert value(worker, "select chatsync.open_epochs()") == 2

    assert not set(epochs(owner).values()) & set(before.values())
    publish(worker, "t1", 1)
    assert stamp(worker) == {"t1": 2}


def test_new_epochs_wait_for_a_stamp_in_progress(
    connections: Connections, worker: SyncConnection, stepper: Stepper
) -> None:
    stamping = connections.open("chatsync_worker")
    before = epochs(worker)
    stamping.execute("begin")
    stamp(stamping)

    opening = stepper.start_and_wait(worker, "select chatsync.open_epochs()")
    assert epochs(stamping) == before
    stamping.execute("commit")

    assert opening.result() == [(2,)]
    assert stamp(stamping) == {}


def test_events_and_their_epoch_are_read_from_one_snapshot(
    connections: Connections, worker: SyncConnection
) -> None:
    stamp(worker)
    rows = worker.execute(
        "select e.epoch, p.epoch from chatsync.read_events(array['t1'], array[0::bigint], 10) e"
        " join chatsync.stream_positions(array['t1']) p on p.tenant_id = e.tenant_id"
    ).fetchall()
    assert len(rows) == 1
    assert rows[0][0] == rows[0][1]

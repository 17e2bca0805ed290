"""Steps of a process that are several transactions in one call."""

import psycopg
import pytest
from psycopg.types.json import Jsonb

from chatsync.database import Role
from conftest import Connections, SyncConnection
from sql.log_calls import Numbered, publish, read
from sql.queue_calls import claim, count, enqueue, register, settle, value

STAMP_AND_RING = "call chatsync.stamp_and_ring(1000, 'me')"
PATIENCE_SECONDS = 10.0


@pytest.fixture
def worker(connections: Connections) -> SyncConnection:
    worker = ours(connections, "chatsync_worker")
    worker.execute("select chatsync.create_tenant('t1')")
    return worker


def ours(connections: Connections, role: Role) -> SyncConnection:
    """A connection that rings as chatsync's own do, between its transactions."""
    connection = connections.open(role)
    connection.execute("set chatsync.doorbell = off")
    return connection


def heard(listener: SyncConnection) -> str:
    return next(listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)).payload


def test_a_stamp_rings_for_those_whose_logs_grew(
    connections: Connections, worker: SyncConnection
) -> None:
    listener = connections.open("chatsync_gateway", tenants="t1")
    listener.execute("listen chatsync")
    publish(worker, "t1", 0)

    assert worker.execute(STAMP_AND_RING).fetchone() == (["t1"], False)
    assert heard(listener) == '{"tenants" : ["t1"], "by" : "me"}'
    assert read(listener, {"t1": 0}) == [Numbered("t1", 1, 0)]


def test_nothing_to_stamp_rings_for_nobody(worker: SyncConnection) -> None:
    assert worker.execute(STAMP_AND_RING).fetchone() == (None, False)


def test_who_finds_the_stamp_taken_is_told_to_come_again(
    connections: Connections, worker: SyncConnection
) -> None:
    holder = connections.open("chatsync_worker")
    with holder.transaction():
        value(holder, "select chatsync.stamp(1)")
        publish(worker, "t1", 0)
        assert worker.execute(STAMP_AND_RING).fetchone() == (None, True)
    assert worker.execute(STAMP_AND_RING).fetchone() == (["t1"], False)


def test_what_is_over_the_limit_is_left(worker: SyncConnection) -> None:
    for label in range(3):
        publish(worker, "t1", label)
    assert worker.execute("call chatsync.stamp_and_ring(2, 'me')").fetchone() == (["t1"], True)


def test_names_that_do_not_fit_are_a_bare_look(
    connections: Connections, worker: SyncConnection
) -> None:
    listener = connections.open("chatsync_gateway")
    listener.execute("listen chatsync")
    worker.execute("select chatsync.ring_hint('tenants', array_fill('x'::text, array[4000]), 'me')")
    assert heard(listener) == ""


def test_taken_deliveries_are_there_when_the_bell_rings(
    connections: Connections, worker: SyncConnection
) -> None:
    inbox = value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')")
    listener = connections.open("chatsync_worker")
    listener.execute("listen chatsync")

    ours(connections, "chatsync_gateway").execute(
        "call chatsync.take_deliveries(%s, array['c'], array['x'::bytea], null, 5, 'me')", [[inbox]]
    )

    assert heard(listener) == '{"queues" : ["inbound"], "by" : "me"}'
    assert count(listener, "message_queue") == 1


def test_enqueued_messages_are_there_when_the_bell_rings(
    connections: Connections, worker: SyncConnection
) -> None:
    listener = connections.open("chatsync_worker")
    listener.execute("listen chatsync")
    messages = [{"queue": queue, "tenant_id": "t1", "payload": 1} for queue in ("work", "mail")]

    row = worker.execute(
        "call chatsync.enqueue_many_and_ring(%s, 5, array['mail', 'work'], 'me')", [Jsonb(messages)]
    ).fetchone()

    assert heard(listener) == '{"queues" : ["mail","work"], "by" : "me"}'
    found = listener.execute("select array_agg(id order by id) from chatsync.message_queue")
    assert row == found.fetchone()


def test_a_part_of_a_lease_is_settled_and_its_lane_stays_held(connections: Connections) -> None:
    connection, worker_id = register(connections)
    value(connection, "select chatsync.create_tenant('t1')")
    for label in range(3):
        enqueue(connection, "k", label)
    first, *rest = claimed = claim(connection, worker_id)
    arguments = [first.lease_id, [first.id], Jsonb([])]

    has_more = value(connection, "select chatsync.settle(%s, %s, %s, '{}', true)", arguments)

    assert has_more is True
    assert claim(connection, worker_id) == []
    with pytest.raises(psycopg.DatabaseError) as caught:
        settle(connection, claimed)
    assert caught.value.sqlstate == "CS001"
    settle(connection, rest)
    assert count(connection, "queue_lanes") == 0


def test_the_last_part_says_whether_the_lane_has_more(connections: Connections) -> None:
    connection, worker_id = register(connections)
    value(connection, "select chatsync.create_tenant('t1')")
    for expected in (True, False):
        enqueue(connection, "k", 0)
        (row,) = claim(connection, worker_id)
        if expected:
            enqueue(connection, "k", 1)
        arguments = [row.lease_id, [row.id]]
        assert value(connection, "select chatsync.settle(%s, %s)", arguments) is expected
        if expected:
            settle(connection, claim(connection, worker_id))

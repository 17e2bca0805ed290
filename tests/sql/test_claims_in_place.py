"""A message with a key is claimed, given back and claimed again in its place, beside no index."""

import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import claim, enqueue, register, value

pytestmark = pytest.mark.usefixtures("tenant")


def rewritten(connection: SyncConnection) -> tuple[object, ...]:
    """The messages that the session has updated so far, and those of them in their place."""
    row = connection.execute(
        "select pg_stat_get_xact_tuples_updated('chatsync.message_queue'::regclass),"
        " pg_stat_get_xact_tuples_hot_updated('chatsync.message_queue'::regclass)"
    ).fetchone()
    assert row is not None
    return row


def filled(connections: Connections, key: str | None) -> tuple[SyncConnection, int]:
    """A session with 20 messages to claim, in a transaction: its figures stay until the end."""
    connection, worker_id = register(connections)
    for label in range(20):
        enqueue(connection, key, label)
    connection.execute("begin")
    return connection, worker_id


def test_a_claim_of_messages_with_a_key_touches_no_index(connections: Connections) -> None:
    connection, worker_id = filled(connections, "a")

    assert len(claim(connection, worker_id)) == 20
    assert rewritten(connection) == (20, 20)


def test_a_release_of_messages_with_a_key_touches_no_index(connections: Connections) -> None:
    connection, worker_id = filled(connections, "a")
    claimed = claim(connection, worker_id, limit=5)

    value(connection, "select chatsync.release(%s)", [claimed[0].lease_id])
    assert rewritten(connection) == (10, 10)
    assert len(claim(connection, worker_id)) == 20


def test_a_claim_of_messages_without_a_key_takes_them_out_of_line(connections: Connections) -> None:
    connection, worker_id = filled(connections, None)

    assert len(claim(connection, worker_id)) == 20
    assert rewritten(connection) == (20, 0)


def test_a_lease_of_which_no_ids_were_noted_is_released_as_well(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for label in range(3):
        enqueue(connection, "a", label)
    claimed = claim(connection, worker_id, limit=2)
    owner.execute("update chatsync.lane_turns set first_id = null, last_id = null")

    value(connection, "select chatsync.release(%s)", [claimed[0].lease_id])
    assert len(claim(connection, worker_id)) == 3

"""Workers that die, and lanes that are mended."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import claim, enqueue, labels, reap_until_freed, register, settle

pytestmark = pytest.mark.usefixtures("tenant")


def test_the_work_of_a_dead_worker_is_taken_over_at_once_and_alone(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    doomed, doomed_id = register(connections)
    for number in range(3):
        enqueue(connection, "a", number)
    enqueue(connection, "b", "unharmed")
    assert len(claim(doomed, doomed_id, limit=3)) == 3

    doomed.close()
    assert reap_until_freed(connection) == 3

    seen: list[list[str]] = []
    while claimed := claim(connection, worker_id):
        seen.append(labels(claimed))
        settle(connection, claimed)
    assert seen == [["0"], ["1"], ["2"], ["unharmed"]]


def test_a_silent_worker_is_taken_for_dead_when_its_lease_is_over(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    silent, silent_id = register(connections)
    enqueue(connection, None, 1)
    claimed = claim(silent, silent_id)
    assert connection.execute("select chatsync.reap()").fetchone() == (0,)
    owner.execute(
        "update chatsync.workers set lease_until = now() - interval '1 s' where worker_id = %s",
        [silent_id],
    )

    assert connection.execute("select chatsync.reap()").fetchone() == (1,)

    assert labels(claim(connection, worker_id)) == ["1"]
    assert silent.execute("select chatsync.heartbeat(%s)", [silent_id]).fetchone() == (False,)
    with pytest.raises(psycopg.DatabaseError, match="lost"):
        settle(silent, claimed)


def test_a_message_that_kills_twice_is_dead_lettered_and_takes_nobody_with_it(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "killer")
    enqueue(connection, "a", "innocent")
    for _ in range(2):
        doomed, doomed_id = register(connections)
        claim(doomed, doomed_id)
        doomed.close()
        reap_until_freed(connection)

    assert owner.execute("select summary ->> 'label' from chatsync.failed_messages").fetchall() == [
        ("killer",)
    ]
    assert labels(claim(connection, worker_id)) == ["innocent"]


def test_a_sweep_gives_a_turn_to_a_lane_that_lost_it(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    owner.execute("delete from chatsync.lane_turns")
    assert claim(connection, worker_id) == []

    assert connection.execute("select chatsync.sweep_lanes()").fetchone() == (1,)

    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_sweep_removes_an_empty_lane_and_leaves_the_rest(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for key in ("kept", "claimed", "emptied"):
        enqueue(connection, key, key)
    owner.execute("delete from chatsync.message_queue where ordering_key = 'emptied'")
    claim(connection, worker_id, limit=1)

    assert connection.execute("select chatsync.sweep_lanes()").fetchone() == (1,)

    lanes = owner.execute("select ordering_key from chatsync.queue_lanes order by 1").fetchall()
    assert lanes == [("claimed",), ("kept",)]

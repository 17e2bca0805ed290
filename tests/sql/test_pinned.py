"""What is dead and cannot be removed costs neither claims nor settlements nor stamps."""

from typing import Any

import pytest
from psycopg import sql

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

DEAD = 25_000
# Enough that a look from the beginning takes longer than upkeep leaves to claims.
MANY_DEAD = 100_000
# Without what is tested, each of these steps touches hundreds to tens of thousands.
FEW = 250
MESSAGES = """
    insert into chatsync.message_queue (
      queue, tenant_id, message_type, correlation_id, ordering_key, lease_id, worker_id, status,
      scheduled_at)
    select 'outbound', 't1', 'x', 'x', {key}, {lease}, {lease},
      case when {lease} is null then 'pending' else 'processing' end, now() - interval '1 min'
    from generate_series(1, {count}) as n
"""
EVENTS = """
    insert into chatsync.outbox (tenant_id, topics, type, data)
    select 't1', array['x'], 'x', '{}' from generate_series(1, %s)
"""


@pytest.fixture
def pinned(connections: Connections) -> SyncConnection:
    """A transaction that was opened before anything was deleted."""
    connection = connections.open("chatsync_worker")
    connection.execute("begin isolation level repeatable read")
    connection.execute("select 1")
    return connection


def bury(owner: SyncConnection, key: str | None, dead: int = DEAD) -> None:
    """Leave dead messages, and as many turns, where live ones would be."""
    lane = [f"{QUEUE}/t1/{key}", QUEUE, key]
    owner.execute("select set_config('chatsync.lanes_held', 'yes', false)")
    if key:
        owner.execute(
            "insert into chatsync.queue_lanes (lane, queue, tenant_id, ordering_key)"
            " values (%s, %s, 't1', %s)",
            lane,
        )
    owner.execute(
        sql.SQL(MESSAGES).format(
            key=sql.Literal(key), lease=sql.SQL("null::bigint"), count=sql.Literal(dead)
        )
    )
    owner.execute("delete from chatsync.message_queue")
    owner.execute("delete from chatsync.queue_lanes")
    if key:
        owner.execute(
            "insert into chatsync.lane_turns (lane, queue, priority, ready_at)"
            " select n::text, %s, 0, now() - interval '1 min' from generate_series(1, %s) as n",
            [QUEUE, dead],
        )
        owner.execute("delete from chatsync.lane_turns")
    owner.execute("select set_config('chatsync.lanes_held', '', false)")
    owner.execute("select pg_stat_force_next_flush()")


def raise_low_waters(owner: SyncConnection) -> None:
    for name in ("messages", "leases", "outbox"):
        owner.execute("select chatsync.raise_low_water(%s)", [name])


def touched(
    connection: SyncConnection, query: sql.SQL, parameters: list[object] | None = None
) -> int:
    """The buffers that a statement, which is undone, touches when nothing has to be planned."""
    explained = sql.SQL("explain (analyze, buffers, format json) {}").format(query)
    plans: list[Any] = []
    for _ in range(5):
        with connection.transaction(force_rollback=True):
            plans.append(value(connection, explained, parameters or [])[0]["Plan"])
    return min(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)


@pytest.mark.usefixtures("pinned")
def test_a_lane_with_many_dead_messages_is_claimed_and_let_go_for_little(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, "a")
    raise_low_waters(owner)
    connection, worker_id = register(connections)
    for label in range(3):
        enqueue(connection, "a", label)
    claiming = sql.SQL("select count(*) from chatsync.claim('outbound', %s, 1)")
    # The first look from the beginning is what a session remembers.
    claim(connection, worker_id, limit=0)
    connection.execute("select * from chatsync.look_for_work('outbound')")

    assert touched(connection, claiming, [worker_id]) < FEW
    claimed = claim(connection, worker_id, limit=1)
    settling = sql.SQL("select chatsync.settle(%s, array[%s::bigint])")
    assert touched(connection, settling, [claimed[0].lease_id, claimed[0].id]) < FEW


@pytest.mark.usefixtures("pinned")
def test_an_emptied_lane_with_many_dead_messages_is_left_to_the_next_sweep(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, "a")
    raise_low_waters(owner)
    connection, worker_id = register(connections)
    enqueue(connection, "a", "only")
    claimed = claim(connection, worker_id)
    settling = sql.SQL("select chatsync.settle(%s, array[%s::bigint])")
    assert touched(connection, settling, [claimed[0].lease_id, claimed[0].id]) < FEW
    settle(connection, claimed)
    assert (count(owner, "queue_lanes"), count(owner, "lane_turns")) == (1, 0)

    assert value(connection, "select chatsync.sweep_lanes()") == 1
    assert count(owner, "queue_lanes") == 0


@pytest.mark.usefixtures("pinned")
def test_messages_without_a_key_are_claimed_for_little_behind_many_dead_ones(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, None)
    connection, worker_id = register(connections)
    enqueue(connection, None, "live")
    connection.execute("select * from chatsync.look_for_work('outbound')")

    claiming = sql.SQL("select count(*) from chatsync.claim('outbound', %s, 1)")
    assert touched(connection, claiming, [worker_id]) < FEW


@pytest.mark.usefixtures("pinned")
def test_what_comes_in_before_the_remembered_front_is_claimed_when_that_has_run_out(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, None)
    connection, worker_id = register(connections)
    connection.execute("select * from chatsync.look_for_work('outbound')")
    assert value(connection, "select current_setting('chatsync.front')")
    enqueue(connection, None, "early", p_scheduled_at="2020-01-01")

    claimed = claim(connection, worker_id)
    while not claimed:
        claimed = claim(connection, worker_id)
    assert labels(claimed) == ["early"]


@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize("key", ["a", None])
def test_a_session_that_never_looked_begins_where_upkeep_saw_the_front(
    connections: Connections, owner: SyncConnection, key: str | None
) -> None:
    bury(owner, key, MANY_DEAD)
    raise_low_waters(owner)
    register(connections)[0].execute("select chatsync.raise_front('outbound')")
    assert count(owner, "queue_fronts") == 1
    connection, worker_id = register(connections)
    enqueue(connection, key, "live")

    claiming = sql.SQL("select count(*) from chatsync.claim('outbound', %s, 1)")
    assert touched(connection, claiming, [worker_id]) < FEW
    assert labels(claim(connection, worker_id)) == ["live"]


@pytest.mark.usefixtures("pinned")
def test_what_comes_in_before_the_front_that_upkeep_saw_is_claimed_when_that_is_raised(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, None, MANY_DEAD)
    connection, worker_id = register(connections)
    connection.execute("select chatsync.raise_front('outbound')")
    enqueue(connection, None, "early", p_scheduled_at="2020-01-01")

    assert claim(connection, worker_id) == []
    claimed = claim(connection, worker_id)
    while not claimed:
        connection.execute("select chatsync.raise_front('outbound')")
        claimed = claim(connection, worker_id)
    assert labels(claimed) == ["early"]


def test_without_many_dead_rows_there_is_no_front(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, _ = register(connections)
    connection.execute("select chatsync.raise_front('outbound')")

    assert count(owner, "queue_fronts") == 0


@pytest.mark.usefixtures("pinned")
def test_where_there_are_limits_upkeep_sees_no_front(
    connections: Connections, owner: SyncConnection
) -> None:
    bury(owner, None, MANY_DEAD)
    owner.execute("select chatsync.limit_in_flight('outbound', 10)")
    connection, _ = register(connections)
    connection.execute("select chatsync.raise_front('outbound')")

    assert count(owner, "queue_fronts") == 0


@pytest.mark.usefixtures("pinned")
def test_a_stamp_costs_little_behind_many_dead_events(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(EVENTS, [DEAD])
    owner.execute("delete from chatsync.outbox")
    raise_low_waters(owner)
    owner.execute(EVENTS, [1])

    assert touched(worker, sql.SQL("select chatsync.stamp()")) < FEW
    assert touched(worker, sql.SQL("select chatsync.outbox_waiting()")) < FEW


@pytest.mark.usefixtures("pinned")
def test_a_head_costs_little_behind_many_that_were(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(
        "insert into chatsync.stream_heads select 't1', n from generate_series(1, %s) as n"
        # Those that follow each other lie on different pages.
        " order by n %% 100, n",
        [DEAD],
    )
    owner.execute("delete from chatsync.stream_heads where head < %s", [DEAD])
    owner.execute(EVENTS, [1])

    assert touched(worker, sql.SQL("select chatsync.stamp()")) < FEW
    assert touched(worker, sql.SQL("select * from chatsync.stream_positions('{t1}')")) < FEW


@pytest.mark.usefixtures("pinned")
def test_a_look_for_dead_workers_costs_little_behind_many_ended_leases(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, _ = register(connections)
    owner.execute("select nextval('chatsync.leases') from generate_series(1, %s)", [DEAD])
    owner.execute(
        sql.SQL(MESSAGES).format(key=sql.SQL("null"), lease=sql.SQL("n"), count=sql.Literal(DEAD))
    )
    owner.execute("delete from chatsync.message_queue")
    raise_low_waters(owner)

    assert touched(connection, sql.SQL("select chatsync.reap()")) < FEW

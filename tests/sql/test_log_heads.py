"""Heads: one a tenant, whoever looks and whenever, found from the end of their key."""

from contextlib import suppress
from typing import Any

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.hot_log_statements import HEADS
from sql.log_calls import Numbered, publish, read, stamp
from sql.planning import Statement, plan
from sql.queue_calls import count, value
from sql.stepping import Stepper

pytestmark = pytest.mark.usefixtures("tenant")

OUTSIDE = """
    insert into chatsync.outbox (tenant_id, topics, type, data)
    values (%s, array['x'], 'x', '{"label": 0}')
"""


def heads(connection: SyncConnection, tenant: str = "t1") -> list[tuple[object, ...]]:
    """The head as it is told, and all that are in the table."""
    return connection.execute(
        "select p.head, array(select h.head from chatsync.stream_heads h where h.tenant_id = %s)"
        " from chatsync.stream_positions(array[%s, %s]) as p",
        [tenant] * 3,
    ).fetchall()


def test_each_look_sees_one_head_whatever_stamps_are_about_to_do(
    connections: Connections, worker: SyncConnection
) -> None:
    before = connections.open("chatsync_gateway", tenants="t1")
    before.execute("begin isolation level repeatable read")
    assert heads(before) == [(0, [0])]
    stamping = connections.open("chatsync_worker")
    for expected in (1, 2):
        publish(worker, "t1", expected)
        with stamping.transaction():
            assert stamp(stamping) == {"t1": expected}
            assert heads(worker) == [(expected - 1, [expected - 1])]
        assert heads(worker) == [(expected, [expected])]
    publish(worker, "t1", 3)
    with worker.transaction(force_rollback=True):
        stamp(worker)
    assert heads(worker) == [(2, [2])]
    assert heads(before) == [(0, [0])]


def test_a_tenant_that_is_made_after_its_events_keeps_its_head(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(OUTSIDE, ["early"])
    assert stamp(worker) == {"early": 1}

    assert value(worker, "select chatsync.create_tenant('early')") is True

    assert heads(owner, "early") == [(1, [1])]
    publish(worker, "early", 0)
    assert stamp(worker) == {"early": 2}


def test_a_tenant_that_is_made_during_its_first_stamp_keeps_its_head(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    owner.execute(OUTSIDE, ["early"])
    making = connections.open("chatsync_worker")
    with worker.transaction():
        assert stamp(worker) == {"early": 1}
        running = stepper.start_and_wait(making, "select chatsync.create_tenant('early')")
    running.result()

    assert heads(owner, "early") == [(1, [1])]


def test_a_stamp_waits_for_a_tenant_that_is_being_made(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    owner.execute(OUTSIDE, ["early"])
    stamping = connections.open("chatsync_gateway")
    with worker.transaction():
        worker.execute("select chatsync.create_tenant('early')")
        running = stepper.start_and_wait(stamping, "select chatsync.stamp()")
    assert running.result() == [({"early": 1},)]

    assert heads(owner, "early") == [(1, [1])]


def test_a_stream_that_lacks_its_head_goes_on_where_it_was_trimmed(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute("insert into chatsync.streams (tenant_id, trimmed_to) values ('plain', 5)")
    assert heads(owner, "plain") == [(5, [])]
    owner.execute(OUTSIDE, ["plain"])

    assert stamp(worker) == {"plain": 6}
    assert heads(owner, "plain") == [(6, [6])]


def test_no_event_is_lost_when_somebody_moves_a_head_by_hand(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    publish(worker, "t1", 0)
    stamping = connections.open("chatsync_gateway")
    with owner.transaction():
        owner.execute("update chatsync.stream_heads set head = 5 where tenant_id = 't1'")
        running = stepper.start_and_wait(stamping, "select chatsync.stamp()")
    # Which of the two depends on the version of PostgreSQL.
    with suppress(psycopg.errors.SerializationFailure):
        running.result()

    while value(worker, "select chatsync.outbox_waiting()"):
        stamp(worker)
    assert read(owner, {"t1": 0}) == [Numbered("t1", 6, 0)]
    assert heads(owner) == [(6, [6])]


def test_a_stamp_of_which_a_head_vanishes_takes_no_event(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    publish(worker, "t1", 0)
    stamping = connections.open("chatsync_gateway")
    with owner.transaction():
        owner.execute("delete from chatsync.stream_heads where tenant_id = 't1'")
        running = stepper.start_and_wait(stamping, "select chatsync.stamp()")
    with pytest.raises(psycopg.errors.SerializationFailure, match="a head was moved"):
        running.result()

    assert count(owner, "outbox") == 1
    assert stamp(worker) == {"t1": 1}


@pytest.mark.parametrize("statement", HEADS, ids=lambda it: it.function)
def test_a_head_is_found_from_the_end_of_its_key_though_the_table_is_small(
    owner: SyncConnection, statement: Statement
) -> None:
    for mode in ("generic", "custom"):
        nodes = plan(owner, statement, mode)
        found = [node for node in nodes if node.get("Relation Name") == "stream_heads"]
        assert [node["Scan Direction"] for node in found] == ["Backward"]
        assert not any("Sort" in node["Node Type"] for node in nodes)
        assert "Limit" in [node["Node Type"] for node in nodes if found[0] in node.get("Plans", ())]


def test_a_stamp_goes_to_the_place_of_a_head(owner: SyncConnection) -> None:
    source: Any = value(owner, "select prosrc from pg_proc where proname = 'stamp_for'")
    stamping = Statement(
        "stamp_for",
        "",
        {
            "v_ids": ("bigint[]", "array[1]"),
            "v_tenants": ("text[]", "array['t1']"),
            "v_places": ("tid[]", "array['(0,1)']::tid[]"),
            "p_followed": ("text", "'t1'"),
        },
        source[source.index("with taken") : source.index("into p_heads")],
        role="chatsync_owner",
    )
    touching = [
        node["Node Type"]
        for node in plan(owner, stamping, "generic")
        if node.get("Relation Name") == "stream_heads"
    ]
    assert touching == ["ModifyTable", "Tid Scan"]

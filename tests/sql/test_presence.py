"""Leases of gateways and what they say of their users."""

import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import value
from sql.stepping import Stepper

BEAT = "select is_new, tenant_ids from chatsync.beat_node(%s, 15)"


@pytest.fixture
def gateway(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_gateway")


@pytest.fixture
def second(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_gateway")


def beat(connection: SyncConnection, node: str) -> tuple[object, ...]:
    row = connection.execute(BEAT, [node]).fetchone()
    assert row is not None
    return row


def say(connection: SyncConnection, node: str, user: str, status: str | None = "online") -> object:
    return value(
        connection,
        "select chatsync.say_presence(%s, array['t1'], array[%s], array[%s], array[1],"
        " array[null])",
        [node, user, status],
    )


def told(connection: SyncConnection, tenant: str = "t1") -> set[tuple[object, ...]]:
    query = "select user_id, node_id, status from chatsync.told_presence(array[%s])"
    return set(connection.execute(query, [tenant]).fetchall())


def later(connection: SyncConnection, seconds: int) -> None:
    query = "select set_config('chatsync.now', (now() + make_interval(secs => %s))::text, false)"
    connection.execute(query, [seconds])


def test_a_lease_is_new_once(gateway: SyncConnection) -> None:
    assert beat(gateway, "a") == (True, [])
    assert beat(gateway, "a") == (False, [])


def test_nothing_is_said_without_a_lease(gateway: SyncConnection) -> None:
    assert say(gateway, "a", "ana") is False
    beat(gateway, "a")
    assert say(gateway, "a", "ana") is True
    assert told(gateway) == {("ana", "a", "online")}


def test_what_is_said_replaces_what_was_said_by_the_same_node(
    gateway: SyncConnection, second: SyncConnection
) -> None:
    beat(gateway, "a")
    beat(second, "b")
    for status in ("online", "busy"):
        say(gateway, "a", "ana", status)
    say(second, "b", "ana", "away")
    assert told(gateway) == {("ana", "a", "busy"), ("ana", "b", "away")}
    say(gateway, "a", "ana", None)
    assert told(gateway) == {("ana", "b", "away")}


def test_users_of_a_dead_node_go_with_whoever_beats_next(
    gateway: SyncConnection, second: SyncConnection
) -> None:
    for node, connection in (("a", gateway), ("b", second)):
        beat(connection, node)
        say(connection, node, f"user of {node}")
    later(second, 10)
    assert beat(second, "b") == (False, [])
    later(second, 16)
    assert beat(second, "b") == (False, ["t1"])
    assert told(second) == {("user of b", "b", "online")}
    # It was only slow: it finds its lease gone, and writes everything again.
    assert say(gateway, "a", "user of a") is False
    assert beat(gateway, "a") == (True, [])


def test_whoever_is_late_itself_judges_nobody(
    gateway: SyncConnection, second: SyncConnection
) -> None:
    beat(gateway, "a")
    say(gateway, "a", "ana")
    beat(second, "b")
    for connection in (gateway, second):
        later(connection, 60)
    assert beat(second, "b") == (False, [])
    assert beat(gateway, "a") == (False, [])
    assert told(second) == {("ana", "a", "online")}


def test_a_node_that_leaves_is_dead_after_the_grace(
    gateway: SyncConnection, second: SyncConnection
) -> None:
    beat(gateway, "a")
    say(gateway, "a", "ana")
    beat(second, "b")
    gateway.execute("select chatsync.leave_node('a', 8)")
    later(second, 7)
    assert beat(second, "b") == (False, [])
    later(second, 9)
    assert beat(second, "b") == (False, ["t1"])
    gateway.execute("select chatsync.leave_node('a', 8)")


def test_two_that_find_a_dead_node_at_once_do_not_wait_for_each_other(
    connections: Connections, gateway: SyncConnection, second: SyncConnection, stepper: Stepper
) -> None:
    dead = connections.open("chatsync_gateway")
    beat(dead, "dead")
    say(dead, "dead", "ana")
    for node, connection in (("a", gateway), ("b", second)):
        beat(connection, node)
        later(connection, 10)
        beat(connection, node)
        later(connection, 20)
    gateway.execute("begin")
    assert beat(gateway, "a") == (False, ["t1"])
    assert stepper.start(second, BEAT, ["b"]).result(5) == [(False, [])]
    gateway.execute("commit")
    assert told(second) == set()


def test_who_writes_while_taken_for_dead_writes_nothing(
    gateway: SyncConnection, second: SyncConnection, stepper: Stepper
) -> None:
    beat(gateway, "a")
    beat(second, "b")
    later(second, 10)
    beat(second, "b")
    later(second, 20)
    second.execute("begin")
    beat(second, "b")
    writing = stepper.start_and_wait(
        gateway,
        "select chatsync.say_presence('a', '{t1}', '{ana}', '{online}', '{1}', '{null}')",
    )
    second.execute("commit")
    assert writing.result(5) == [(False,)]
    assert told(second) == set()


def test_what_is_being_written_is_not_swept(
    gateway: SyncConnection, second: SyncConnection, stepper: Stepper
) -> None:
    beat(gateway, "a")
    beat(second, "b")
    later(second, 10)
    beat(second, "b")
    later(second, 20)
    gateway.execute("begin")
    say(gateway, "a", "ana")
    assert stepper.start(second, BEAT, ["b"]).result(5) == [(False, [])]
    gateway.execute("commit")
    assert beat(second, "b") == (False, ["t1"])


def test_an_emptied_table_is_a_new_lease(gateway: SyncConnection, owner: SyncConnection) -> None:
    beat(gateway, "a")
    say(gateway, "a", "ana")
    owner.execute("truncate chatsync.presence, chatsync.gateway_nodes")
    assert say(gateway, "a", "ana") is False
    assert beat(gateway, "a") == (True, [])
    assert say(gateway, "a", "ana") is True


def test_the_tables_are_unlogged(owner: SyncConnection) -> None:
    query = "select relname from pg_class where relpersistence = 'u' and relkind = 'r'"
    found = {row[0] for row in owner.execute(query)}
    assert found == {"gateway_nodes", "gateway_stats", "presence", "tickets"}


def test_tenants_are_kept_apart(gateway: SyncConnection) -> None:
    beat(gateway, "a")
    say(gateway, "a", "ana")
    assert told(gateway, "t2") == set()
    assert gateway.execute("select * from chatsync.presence").fetchall() == []

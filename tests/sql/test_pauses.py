"""Pauses by queue, tenant, inbox and key: nothing of theirs runs, everything else does."""

from typing import Any

import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle, value
from sql.stepping import Stepper

SCOPES = {
    "queue": {},
    "tenant": {"p_tenant_id": "t1"},
    "inbox": {"p_tenant_id": "t1", "p_inbox_id": 7},
    "key": {"p_tenant_id": "t1", "p_ordering_key": "k"},
}


@pytest.fixture
def worker(connections: Connections) -> tuple[SyncConnection, int]:
    connection, worker_id = register(connections)
    value(connection, "select chatsync.create_tenant('t1')")
    return connection, worker_id


def pause(connection: SyncConnection, **scope: object) -> None:
    _call(connection, "pause", scope)


def resume(connection: SyncConnection, **scope: object) -> bool:
    return _call(connection, "resume", scope)


def _call(connection: SyncConnection, name: str, scope: dict[str, object]) -> Any:
    named = "".join(f", {parameter} => %({parameter})s" for parameter in scope)
    query = f"select chatsync.{name}(%(queue)s{named})"
    row = connection.execute(query.encode(), {"queue": QUEUE, **scope}).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
def test_what_is_paused_waits_and_comes_in_order_when_it_is_resumed(
    worker: tuple[SyncConnection, int], scope: dict[str, object]
) -> None:
    connection, worker_id = worker
    for label in range(3):
        enqueue(connection, "k", label, p_inbox_id=7)
    pause(connection, **scope)

    assert claim(connection, worker_id) == []
    enqueue(connection, "k", 3, p_inbox_id=7)
    assert claim(connection, worker_id) == []

    assert resume(connection, **scope) is True
    assert labels(claim(connection, worker_id)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("scope", list(SCOPES.values())[1:], ids=list(SCOPES)[1:])
def test_nobody_else_waits(worker: tuple[SyncConnection, int], scope: dict[str, object]) -> None:
    connection, worker_id = worker
    value(connection, "select chatsync.create_tenant('t2')")
    for key in range(40):
        enqueue(connection, "k", key, p_inbox_id=7)
    pause(connection, **scope)
    connection.execute(
        "select chatsync.enqueue(%s, 't2', 'test', jsonb_build_object('label', 'free'),"
        " p_ordering_key => 'k', p_inbox_id => 8)",
        [QUEUE],
    )

    assert labels(claim(connection, worker_id)) == ["free"]


@pytest.mark.parametrize("scope", [SCOPES["queue"], SCOPES["tenant"], SCOPES["inbox"]], ids=str)
def test_messages_without_a_key_wait_as_well(
    worker: tuple[SyncConnection, int], scope: dict[str, object]
) -> None:
    connection, worker_id = worker
    for label in range(5):
        enqueue(connection, None, label, p_inbox_id=7)
    pause(connection, **scope)

    assert claim(connection, worker_id, limit=2) == []
    assert resume(connection, **scope) is True
    assert labels(claim(connection, worker_id)) == ["0", "1", "2", "3", "4"]


def test_a_claim_is_not_empty_while_anything_may_run(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    value(connection, "select chatsync.create_tenant('t2')")
    for number in range(50):
        enqueue(connection, f"k{number}", number)
        enqueue(connection, None, number)
    for key in ("k", None):
        connection.execute(
            "select chatsync.enqueue(%s, 't2', 'test', jsonb_build_object('label', 'free'),"
            " p_ordering_key => %s, p_priority => -1::smallint)",
            [QUEUE, key],
        )
    pause(connection, p_tenant_id="t1")

    assert labels(claim(connection, worker_id, limit=3)) == ["free", "free"]


def test_of_two_pauses_each_has_to_end(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    enqueue(connection, "k", "both")
    enqueue(connection, "other", "tenant")
    pause(connection, **SCOPES["tenant"])
    pause(connection, **SCOPES["key"])
    assert claim(connection, worker_id) == []

    resume(connection, **SCOPES["tenant"])
    assert labels(claim(connection, worker_id)) == ["tenant"]
    resume(connection, **SCOPES["key"])
    assert labels(claim(connection, worker_id)) == ["both"]
    assert resume(connection, **SCOPES["key"]) is False


def test_what_runs_goes_on_and_what_follows_waits(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    enqueue(connection, "k", 0)
    running = claim(connection, worker_id)
    enqueue(connection, "k", 1)
    pause(connection, **SCOPES["key"])
    settle(connection, running)

    assert claim(connection, worker_id) == []
    resume(connection, **SCOPES["key"])
    assert labels(claim(connection, worker_id)) == ["1"]


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
def test_a_pause_ends_by_itself_when_its_time_has_come(
    worker: tuple[SyncConnection, int], scope: dict[str, object]
) -> None:
    connection, worker_id = worker
    connection.execute("select set_config('chatsync.now', '2026-01-01 12:00Z', false)")
    enqueue(connection, "k", 0, p_inbox_id=7)
    pause(connection, **scope, p_until="2026-01-01 12:05Z")
    assert claim(connection, worker_id) == []

    due = value(connection, "select chatsync.next_ready_at(%s) = '2026-01-01 12:05Z'", [QUEUE])
    assert due is True
    connection.execute("select set_config('chatsync.now', '2026-01-01 12:05Z', false)")
    assert labels(claim(connection, worker_id)) == ["0"]
    assert count(connection, "queue_pauses") == 0


def test_a_paused_queue_wakes_nobody(worker: tuple[SyncConnection, int]) -> None:
    connection, worker_id = worker
    enqueue(connection, "k", 0)
    enqueue(connection, None, 1)
    for scope in (SCOPES["queue"], SCOPES["tenant"]):
        pause(connection, **scope)
        assert claim(connection, worker_id) == []
        assert value(connection, "select chatsync.next_ready_at(%s)", [QUEUE]) is None


def test_who_resumes_waits_for_a_claim_that_is_parking(
    connections: Connections, worker: tuple[SyncConnection, int], stepper: Stepper
) -> None:
    connection, worker_id = worker
    enqueue(connection, "k", 0)
    enqueue(connection, None, 1)
    pause(connection, **SCOPES["tenant"])
    operator = connections.open("chatsync_worker")

    connection.execute("begin")
    assert claim(connection, worker_id) == []
    resuming = stepper.start_and_wait(operator, f"select chatsync.resume('{QUEUE}', 't1')")
    connection.execute("commit")
    resuming.result()

    assert sorted(labels(claim(connection, worker_id))) == ["0", "1"]


def test_a_claim_does_not_wait_for_who_resumes(
    connections: Connections, worker: tuple[SyncConnection, int]
) -> None:
    connection, worker_id = worker
    enqueue(connection, "k", 0)
    pause(connection, **SCOPES["tenant"])
    operator = connections.open("chatsync_worker")
    with operator.transaction():
        resume(operator, **SCOPES["tenant"])
        assert labels(claim(connection, worker_id)) == ["0"]


def test_a_pause_survives_a_crash_of_its_maker_and_of_workers(connections: Connections) -> None:
    with connections.open("chatsync_worker") as maker:
        value(maker, "select chatsync.create_tenant('t1')")
        enqueue(maker, "k", 0)
        pause(maker, **SCOPES["key"])
    connection, worker_id = register(connections)
    assert claim(connection, worker_id) == []
    assert value(connection, "select chatsync.sweep_lanes()") == 0
    assert claim(connection, worker_id) == []

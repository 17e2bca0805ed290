"""`chatsync queue pause`, `resume` and `paused`, on a real database."""

from conftest import Connections, SyncConnection
from service.command_line import Operator
from sql.queue_calls import QUEUE, claim, enqueue, labels, register, value


def test_what_is_paused_waits_is_named_and_goes_on(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    enqueue(worker, "k", 1)
    enqueue(worker, "other", 2)
    scope = (QUEUE, "--tenant", tenant, "--key", "k")

    said = operator("pause", *scope, "--reason", "the token has run out")
    assert (said.code, said.out) == (0, f"{QUEUE}, tenant {tenant}, key k is paused\n")
    connection, worker_id = register(connections)
    assert labels(claim(connection, worker_id)) == ["2"]

    (shown,) = operator("paused", "--json").json
    assert (shown["ordering_key"], shown["pause_reason"]) == ("k", "the token has run out")
    (blocked,) = operator("blocked", "--json").json
    assert blocked["reason"] == "paused: the token has run out"
    (depth,) = operator("status", "--json").json["queues"]
    assert depth["paused"] == 1

    assert operator("resume", *scope).out == f"{QUEUE}, tenant {tenant}, key k goes on\n"
    assert operator("resume", *scope).out == f"{QUEUE}, tenant {tenant}, key k was not paused\n"
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_pause_may_have_an_end(operator: Operator, worker: SyncConnection, tenant: str) -> None:
    assert tenant
    assert operator("pause", QUEUE, "--reason", "an import", "--for", "15m").code == 0
    lasts = (
        "select paused_until - paused_at between '14 min' and '16 min' from chatsync.queue_pauses"
    )
    assert value(worker, lasts) is True


def test_a_key_without_its_tenant_is_refused(operator: Operator) -> None:
    said = operator("pause", QUEUE, "--key", "k", "--reason", "x")
    assert said.code == 2
    assert "--inbox and --key need --tenant" in said.err

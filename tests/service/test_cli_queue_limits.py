"""`chatsync queue limit`, `unlimit` and `limits`, on a real database."""

import pytest

from conftest import Connections, SyncConnection
from service.command_line import Operator
from sql.queue_calls import QUEUE, claim, enqueue, labels, register, value

pytestmark = pytest.mark.usefixtures("tenant")


def test_a_limit_is_set_shown_and_lifted(
    operator: Operator, connections: Connections, worker: SyncConnection
) -> None:
    for key in ("a", "b", "c", None):
        enqueue(worker, key, key)
    said = operator("limit", QUEUE, "--in-flight", 1, "--per", "tenant")
    assert (said.code, said.out) == (0, f"{QUEUE}, in flight, per tenant is limited\n")
    connection, worker_id = register(connections)
    assert labels(claim(connection, worker_id)) == ["a"]
    assert claim(connection, worker_id) == []

    (shown,) = operator("limits", "--json").json
    assert {name: shown[name] for name in ("queue", "kind", "per", "meaning", "used")} == {
        "queue": QUEUE,
        "kind": "in_flight",
        "per": "tenant",
        "meaning": "1 at once",
        "used": 1,
    }
    assert (shown["crowded"], shown["lanes"], shown["messages"]) == (1, 2, 1)
    assert "1 at once" in operator("limits").out
    blocked = {row["ordering_key"]: row["reason"] for row in operator("blocked", "--json").json}
    assert blocked == dict.fromkeys("bc", "waits for room: in_flight/tenant/t1 (1 at once)")
    (depth,) = operator("status", "--json").json["queues"]
    assert (depth["limited"], depth["paused"], depth["processing"]) == (3, 0, 1)
    assert "LIMITED" in operator("status").out

    scope = (QUEUE, "--in-flight", "--per", "tenant")
    assert operator("unlimit", *scope).out == f"{QUEUE}, in flight, per tenant has no limit now\n"
    assert operator("unlimit", *scope).out == f"{QUEUE}, in flight, per tenant had no limit\n"
    assert sorted(map(str, labels(claim(connection, worker_id)))) == ["None", "b", "c"]
    assert operator("limits").out == "nothing is limited\n"


def test_a_rate_is_of_a_key_unless_it_is_said(
    operator: Operator, connections: Connections, worker: SyncConnection
) -> None:
    assert operator("limit", QUEUE, "--rate", "1/6s").code == 0
    assert operator("limit", QUEUE, "--rate", "80/1s", "--per", "inbox", "--burst", 5).code == 0
    for label in range(2):
        enqueue(worker, "a", label)
    connection, worker_id = register(connections)
    assert labels(claim(connection, worker_id)) == ["0"]
    connection.execute("select chatsync.release(lease_id) from chatsync.lane_turns")
    assert claim(connection, worker_id) == []

    shown = operator("limits", "--json").json
    assert [(row["per"], row["meaning"], row["burst"]) for row in shown] == [
        ("inbox", "80 in 1 s", 5),
        ("key", "1 in 6 s", 1),
    ]
    (blocked,) = operator("blocked", "--json").json
    assert blocked["reason"] == f"its rate: 1 in 6 s, until {blocked['ready_at']}"


@pytest.mark.parametrize(
    ("written", "meaning"),
    [("100/m", "100 in 1 min"), ("7/2h", "7 in 2 h"), ("1/d", "1 in 1 d"), ("5/90s", "5 in 90 s")],
)
def test_a_rate_reads_as_it_was_written(operator: Operator, written: str, meaning: str) -> None:
    assert operator("limit", QUEUE, "--rate", written).code == 0
    assert operator("limits", "--json").json[0]["meaning"] == meaning


def test_an_exception_stands_beside_the_limit_of_the_others(
    operator: Operator, connections: Connections, worker: SyncConnection
) -> None:
    assert operator("limit", QUEUE, "--in-flight", 3, "--per", "tenant").code == 0
    assert operator("limit", QUEUE, "--in-flight", 1, "--tenant", "t1").code == 0
    for key in "ab":
        enqueue(worker, key, key)
    assert len(claim(*register(connections))) == 1

    shown = operator("limits", "--json").json

    assert [(row["tenant_id"], row["amount"], row["used"]) for row in shown] == [
        (None, 3, 0),
        ("t1", 1, 1),
    ]


def test_a_full_queue_says_so(operator: Operator, worker: SyncConnection) -> None:
    assert operator("limit", QUEUE, "--depth", 1, "--json").json["amount"] == 1
    enqueue(worker, None, 1)
    value(worker, "select set_config('chatsync.now', '2100-01-01', false)")
    with pytest.raises(Exception, match="is full: it holds 1 messages"):
        enqueue(worker, None, 2)
    assert operator("limits", "--json").json[0]["meaning"] == "1 waiting"
    assert operator("unlimit", QUEUE, "--depth").code == 0
    enqueue(worker, None, 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give one of --in-flight, --rate, --depth"),
        (("--in-flight", 1, "--depth", 2), "give one of"),
        (("--in-flight", 0), "0 is not in the range"),
        (("--rate", "80"), "'80' is no rate, as 80/1s"),
        (("--rate", "0/1s"), "a limit is 1 or more"),
        (("--rate", "1/0s"), "a rate is of a time up to a year"),
        (("--rate", "1/400d"), "a rate is of a time up to a year"),
        (("--depth", 5, "--burst", 2), "--burst goes with --rate"),
        (("--in-flight", 1, "--per", "key"), "one batch of a key is in flight as it is"),
        (("--in-flight", 1, "--per", "queue", "--tenant", "t1"), "--tenant goes with --per tenant"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    operator: Operator, arguments: tuple[object, ...], sentence: str
) -> None:
    said = operator("limit", QUEUE, *arguments)
    assert said.code == 2
    assert sentence in said.err


def test_a_name_that_no_queue_has_is_refused(operator: Operator) -> None:
    said = operator("limit", "Q!", "--depth", 1)
    assert said.code == 2
    assert "small letters" in said.err

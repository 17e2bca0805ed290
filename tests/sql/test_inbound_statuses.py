"""Statuses only climb, in whatever order and however often they come."""

import random
from itertools import permutations

import pytest

from conftest import SyncConnection
from sql.inbound_calls import Json, apply, create_inbox, echo, events, message, status
from sql.queue_calls import count, value

RANKS = ["PENDING", "SENT", "FAILED", "DELIVERED", "READ"]
ERROR = {"code": 131026}


@pytest.fixture
def worker(undone_worker: SyncConnection) -> SyncConnection:
    return undone_worker


@pytest.fixture
def inbox(worker: SyncConnection) -> int:
    return create_inbox(worker)


def batches(items: list[Json], chance: random.Random) -> list[list[Json]]:
    """The items in their order, cut at random places, some of them repeated."""
    found: list[list[Json]] = [[]]
    for item in items:
        if chance.random() < 0.5:
            found.append([])
        found[-1] += [item] * chance.choice((1, 1, 2))
        if chance.random() < 0.3:
            found.append([item])
    return [batch for batch in found if batch]


@pytest.mark.parametrize(
    ("statuses", "final"),
    [
        (["SENT", "FAILED", "DELIVERED", "READ"], ("READ", None)),
        (["SENT", "DELIVERED"], ("DELIVERED", None)),
        (["SENT", "FAILED"], ("FAILED", ERROR)),
        (["DELIVERED", "FAILED"], ("DELIVERED", None)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_order_of_a_message_and_its_statuses_ends_in_one_state(
    worker: SyncConnection,
    inbox: int,
    statuses: list[str],
    final: tuple[str, Json | None],
) -> None:
    chance = random.Random(1)
    orders = list(permutations([None, *statuses]))
    for number, order in enumerate(orders):
        name = f"m{number}"
        items = [
            status(inbox, name, one, ERROR if one == "FAILED" else None)
            if one
            else echo(inbox, name)
            for one in order
        ]
        for batch in batches(items, chance):
            apply(worker, *batch)

    assert count(worker, "messages") == len(orders)
    assert count(worker, "orphans") == 0
    states = worker.execute("select distinct status, error from chatsync.messages").fetchall()
    assert states == [final]
    _check_climbs(events(worker), final[0])


def _check_climbs(told: list[tuple[str, Json]], final: str) -> None:
    """Each message begins with message:new, then statuses and versions rise to the final one."""
    seen: dict[str, tuple[int, int]] = {}
    for kind, data in told:
        if kind == "message:new":
            assert data["message"]["id"] not in seen
            seen[data["message"]["id"]] = (
                RANKS.index(data["message"]["status"]),
                data["message"]["version"],
            )
        elif kind == "message:status-update":
            climbed = (RANKS.index(data["status"]), data["version"])
            before = seen[data["messageId"]]
            assert climbed[0] > before[0]
            assert climbed[1] == before[1] + 1
            seen[data["messageId"]] = climbed
    assert {RANKS[rank] for rank, _ in seen.values()} == {final}


def test_a_status_that_comes_before_its_message_waits_for_it(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, status(inbox, "e1", "DELIVERED"), status(inbox, "e1", "SENT"))
    assert count(worker, "orphans") == 2
    assert events(worker) == []

    apply(worker, echo(inbox, "e1"))

    assert count(worker, "orphans") == 0
    assert [kind for kind, _ in events(worker)] == ["conversation:new", "message:new"]
    told = events(worker)[1][1]["message"]
    assert (told["status"], told["version"]) == ("DELIVERED", 2)


def test_a_failure_without_a_reason_is_the_same_before_and_after_its_message(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, echo(inbox, "e1"), status(inbox, "e1", "FAILED"))
    apply(worker, status(inbox, "e2", "FAILED"))
    apply(worker, echo(inbox, "e2"))

    rows = worker.execute("select distinct status, error is null from chatsync.messages").fetchall()
    assert rows == [("FAILED", True)]


def test_a_status_waits_for_the_message_of_its_own_inbox(
    worker: SyncConnection, inbox: int
) -> None:
    other = create_inbox(worker, "200")
    apply(worker, status(inbox, "e1", "READ"))
    apply(worker, echo(other, "e1"))

    assert count(worker, "orphans") == 1
    assert value(worker, "select status from chatsync.messages") == "SENT"


def test_a_status_of_what_a_customer_said_changes_nothing(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, message(inbox, "m1"))
    apply(worker, status(inbox, "m1", "READ"))

    assert value(worker, "select status from chatsync.messages") == "DELIVERED"
    assert [kind for kind, _ in events(worker)] == ["conversation:new", "message:new"]


def test_several_statuses_in_a_batch_are_told_as_one(worker: SyncConnection, inbox: int) -> None:
    apply(worker, echo(inbox, "e1"))
    apply(worker, *(status(inbox, "e1", one) for one in ("READ", "SENT", "DELIVERED")))

    assert [data["status"] for kind, data in events(worker) if kind == "message:status-update"] == [
        "READ"
    ]


def test_a_failure_is_told_with_its_reason_and_a_delivery_takes_it_back(
    worker: SyncConnection, inbox: int
) -> None:
    apply(worker, echo(inbox, "e1"))
    apply(worker, status(inbox, "e1", "FAILED", ERROR))
    apply(worker, status(inbox, "e1", "DELIVERED"))

    failed, delivered = [data for kind, data in events(worker) if kind == "message:status-update"]
    assert failed["error"] == ERROR
    assert "error" not in delivered
    assert worker.execute("select status, error, version from chatsync.messages").fetchall() == [
        ("DELIVERED", None, 3)
    ]

"""Whatever the order of a message and its statuses, and however often they come: one end."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsync.providers.inbound import Item, Status
from conftest import SyncConnection
from sql.story import Event, at, echoed, forgotten, of_type

ERROR = {"code": 131026, "title": "Undeliverable"}
RANKS = ["PENDING", "SENT", "FAILED", "DELIVERED", "READ"]
STATUSES = ["PENDING", "SENT", "FAILED", "DELIVERED", "READ", "PLAYED"]

orders = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def status(name: str, *, of: str = "e", second: float = 1) -> Status:
    return Status(of, name, at(second), ERROR if name == "FAILED" else None)  # pyright: ignore[reportArgumentType]


def cut(items: Sequence[Item], places: set[int]) -> list[list[Item]]:
    """Deliveries: a new one begins at each place."""
    deliveries: list[list[Item]] = [[]]
    for number, item in enumerate(items):
        if number in places and deliveries[-1]:
            deliveries.append([])
        deliveries[-1].append(item)
    return deliveries


def final(statuses: Sequence[str], first: str = "SENT") -> tuple[str, object, bool]:
    """What must come of them: status, error, and whether it was played."""
    highest = max(
        (first, *("READ" if one == "PLAYED" else one for one in statuses)), key=RANKS.index
    )
    return highest, ERROR if highest == "FAILED" else None, "PLAYED" in statuses


def check_climb(events: Sequence[Event]) -> None:
    """What a client sees begins with the message, and from then on only climbs."""
    (new,) = of_type(events, "message:new")
    seen = new["message"]["status"], new["message"]["version"]
    after = events[[kind for kind, _ in events].index("message:new") + 1 :]
    for kind, data in after:
        if kind == "message:status-update":
            assert RANKS.index(data["status"]) > RANKS.index(seen[0])
            assert data["version"] == seen[1] + 1
            seen = data["status"], data["version"]
        elif kind == "message:updated":
            assert data["message"]["status"] == seen[0]
            assert data["message"]["version"] == seen[1] + 1
            seen = seen[0], data["message"]["version"]


STATE = "select status, error, metadata ? 'playedAt' from chatsync.messages"


@orders
@given(
    statuses=st.lists(st.sampled_from(STATUSES), min_size=1, max_size=7),
    place=st.integers(0, 7),
    cuts=st.sets(st.integers(1, 8)),
    origin=st.sampled_from(["echo", "api"]),
)
def test_any_order_of_a_message_and_its_statuses_ends_in_one_state(
    undone_worker: SyncConnection,
    statuses: list[str],
    place: int,
    cuts: set[int],
    origin: str,
) -> None:
    items: list[Item] = [status(one) for one in statuses]
    items.insert(place, echoed("e", origin=origin))
    with forgotten(undone_worker) as story:
        events = story.tell_each(cut(items, cuts))

        assert story.rows(STATE) == [final(statuses)]
        assert story.value("select count(*) from chatsync.orphans") == 0
        check_climb(events)


@pytest.mark.parametrize("cuts", [set[int](), set(range(9))], ids=["one batch", "one by one"])
def test_a_message_that_is_seen_again_reports_its_status(
    undone_worker: SyncConnection, cuts: set[int]
) -> None:
    for reports in permutations(["PENDING", "DELIVERED", "SENT"]):
        items = [echoed("e", status=one) for one in reports]
        with forgotten(undone_worker) as story:
            events = story.tell_each(cut(items, cuts))
            assert story.rows(STATE) == [("DELIVERED", None, False)]
            check_climb(events)


@pytest.mark.parametrize("place", range(4))
def test_a_played_message_is_read_and_remembered_as_played_whatever_the_order(
    undone_worker: SyncConnection, place: int
) -> None:
    for statuses in permutations(["DELIVERED", "READ", "PLAYED"]):
        items: list[Item] = [status(one, second=9 if one == "PLAYED" else 1) for one in statuses]
        items.insert(place, echoed("e"))
        for cuts in (set[int](), set(range(5))):
            with forgotten(undone_worker) as story:
                story.tell_each(cut(items, cuts))
                assert story.rows(
                    "select status, metadata ->> 'playedAt', version <= 4 from chatsync.messages"
                ) == [("READ", "2026-01-01T12:00:09.000Z", True)]


def test_the_first_time_that_a_message_was_played_is_kept(undone_worker: SyncConnection) -> None:
    for seconds in permutations([3, 5, 9]):
        with forgotten(undone_worker) as story:
            story.tell(echoed("e"))
            story.tell_each([[status("PLAYED", second=second)] for second in seconds])
            assert story.value("select metadata ->> 'playedAt' from chatsync.messages") == (
                "2026-01-01T12:00:03.000Z"
            )


def test_the_check_notices_a_status_that_falls() -> None:
    new = {"message": {"status": "READ", "version": 1}}
    events: list[Event] = [
        ("message:new", new),
        ("message:status-update", {"status": "SENT", "version": 2}),
    ]
    with pytest.raises(AssertionError):
        check_climb(events)

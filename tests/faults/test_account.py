"""The account of what was published and seen, fed with bad histories: it finds what is bad."""

import asyncio
import random

import pytest

from conftest import SyncConnection
from faults.account import Publisher, settle, verdict
from faults.subscribers import Tab, listening, take
from service.payloads import Frame
from service.witness import Witness


def log_of(*numbers: int, tenant: str = "t1") -> list[Frame]:
    return [
        {
            "seq": at,
            "type": "test",
            "topics": [f"tenant:{tenant}"],
            "data": {"n": number, "tenant": tenant},
        }
        for at, number in enumerate(numbers, 1)
    ]


def publisher(asked: int, *accepted: int) -> Publisher:
    return Publisher("t1", [], random.Random(1), accepted=list(accepted), asked=asked)


def test_what_was_refused_may_be_in_the_log_and_may_not() -> None:
    settle(log_of(0, 1, 3), publisher(5, 0, 1))


@pytest.mark.parametrize(
    ("log", "accepted"),
    [
        pytest.param(log_of(0, 1), (0, 2), id="accepted and lost"),
        pytest.param(log_of(0, 1, 1), (0, 1), id="twice"),
        pytest.param(log_of(0, 7), (0,), id="never published"),
        pytest.param(log_of(0, tenant="t2"), (0,), id="of another tenant"),
        pytest.param(log_of(0, 1, 2)[::2], (0,), id="with a hole"),
    ],
)
def test_a_bad_log_is_refused(log: list[Frame], accepted: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        settle(log, publisher(5, *accepted))


def frame(begin: int, *numbers: int, end: int, again: bool = False) -> Frame:
    events = [log_of(*range(10))[number - 1] for number in numbers]
    more = {"redelivered": True} if again else {}
    return {"from": f"e.{begin}", "to": f"e.{end}", "events": events, **more}


def test_of_a_redelivery_only_what_is_newer_is_taken() -> None:
    witness = Witness("t1", "e.0")
    take(witness, frame(0, 1, 2, end=2))
    take(witness, frame(1, 2, end=2, again=True))
    take(witness, frame(1, 2, 3, end=3, again=True))
    assert [event["seq"] for event in witness.events] == [1, 2, 3]


def test_a_redelivery_that_leaves_a_gap_is_none() -> None:
    witness = Witness("t1", "e.0")
    with pytest.raises(AssertionError):
        take(witness, frame(1, 2, end=2, again=True))


async def test_a_subscriber_that_fails_fails_the_test() -> None:
    class Failing(Tab):
        async def run(self) -> None:
            raise AssertionError("a gap")

    tab = Failing("ws://nowhere", Witness("t1", "e.0"), "u1", random.Random(1))
    with pytest.raises(AssertionError, match="a gap"):
        async with listening([tab]):
            await asyncio.sleep(0)


async def test_a_witness_that_misses_an_event_or_has_a_foreign_one_is_found_out(
    owner: SyncConnection, two_tenants: str
) -> None:
    assert two_tenants
    for number in range(3):
        for tenant in ("t1", "t2"):
            owner.execute(
                "select chatsync.publish(%s, array['tenant:' || %s], 'test',"
                " jsonb_build_object('n', %s::int, 'tenant', %s::text))",
                [tenant, tenant, number, tenant],
            )
    owner.execute("select chatsync.stamp(100)")
    publishers = [publisher(3, 0, 1, 2)]
    good = Witness("t1", "e.0", log_of(0, 1, 2))
    good.cursor = "e.3"
    assert await verdict(owner, publishers, [good]) == 3

    for events in (log_of(0, 1, 2)[::2], log_of(0, 1, 2, tenant="t2")):
        bad = Witness("t1", "e.0", events)
        bad.cursor = "e.3"
        with pytest.raises(AssertionError):
            await verdict(owner, publishers, [good, bad])

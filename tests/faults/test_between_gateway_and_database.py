"""Faults between gateways and PostgreSQL: deaf listeners, lost answers, half-open links, storms."""

import asyncio
import random
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest
from prometheus_client import REGISTRY

from conftest import SyncConnection
from faults.account import Publisher, verdict
from faults.before_database import behind_a_proxy
from faults.conftest import TENANTS
from faults.storm import storm
from faults.subscribers import SETTINGS, Tab, Taker, listening
from faults.test_between_clients_and_gateways import begin
from service.harness import Gateway, running_gateway, settings_for
from service.streams import until

STORM_SECONDS = 5.0
# So rare that whatever arrives in a test was rung for.
NEVER_MS = 60_000
# As the programs call their connections in pg_stat_activity.
LISTENER, RINGER, GATEWAY = b"chatsync listener", b"chatsync ringer", b"chatsync gateway"


@asynccontextmanager
async def two_gateways(
    url: str, through: str, poll_interval_ms: int = 1000
) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    """One that has the database for itself, and one behind the proxy."""
    more = {"poll_interval_ms": poll_interval_ms, **SETTINGS}
    async with (
        running_gateway(settings_for(url, **more), with_worker=False) as near,
        running_gateway(settings_for(through, **more), with_worker=False) as far,
    ):
        yield near, far


@contextmanager
def replaced(reason: str) -> Generator[None]:
    """A listener is replaced for this reason, meanwhile."""
    before = _replaced(reason)
    yield
    assert _replaced(reason) > before


def _replaced(reason: str) -> float:
    return REGISTRY.get_sample_value("chatsync_listener_replaced_total", {"reason": reason}) or 0.0


async def test_a_listener_that_goes_deaf_is_replaced_and_nothing_is_missed(
    two_tenants: str, owner: SyncConnection, seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        behind_a_proxy(two_tenants) as (proxy, through),
        two_gateways(two_tenants, through, NEVER_MS) as (near, far),
    ):
        publishers = [Publisher(tenant, [near], chance) for tenant in TENANTS]
        tabs: list[Tab | Taker] = [
            Tab(far.ws, await begin(far, TENANTS[number % 2]), f"u{number}", chance)
            for number in range(4)
        ]
        async with listening(tabs) as check:
            witnesses = [tab.witness for tab in tabs]
            assert all([await publisher.publish() for publisher in publishers])
            await verdict(owner, publishers, witnesses, check)

            with replaced("deaf"):
                (deaf,) = proxy.saying(LISTENER)
                deaf.freeze()
                for _ in range(20):
                    assert all([await publisher.publish() for publisher in publishers])
                await verdict(owner, publishers, witnesses, check)
            # The new one and the deaf one, whose end of the server's side hears of nothing.
            assert len(proxy.saying(LISTENER)) == 2


async def test_queries_whose_answers_are_lost_lose_no_event_and_number_none_twice(
    two_tenants: str, owner: SyncConnection, seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        behind_a_proxy(two_tenants) as (proxy, through),
        two_gateways(two_tenants, through) as (near, far),
    ):
        publishers = [Publisher(tenant, [near, far], chance) for tenant in TENANTS]
        tabs: list[Tab | Taker] = [
            Tab(far.ws, await begin(near, TENANTS[number % 2]), f"u{number}", chance)
            for number in range(4)
        ]
        async with listening(tabs) as check:
            for _ in range(15):
                for wire in proxy.saying(GATEWAY):
                    wire.cut()
                for _ in range(4):
                    await asyncio.gather(*(publisher.publish() for publisher in publishers))
            await far.until_ready()
            assert all([await publisher.publish() for publisher in publishers])
            await verdict(owner, publishers, [tab.witness for tab in tabs], check)
    for publisher in publishers:
        assert 0 < len(publisher.accepted) < publisher.asked


@pytest.mark.parametrize("name", [GATEWAY, RINGER], ids=["queries", "ringer"])
async def test_half_open_links_to_the_database_stop_no_delivery(
    two_tenants: str, owner: SyncConnection, seed: int, name: bytes
) -> None:
    chance = random.Random(seed)
    async with (
        behind_a_proxy(two_tenants) as (proxy, through),
        two_gateways(two_tenants, through) as (near, far),
    ):
        publishers = [Publisher(tenant, [near], chance) for tenant in TENANTS]
        witness = await begin(far, "t1")
        async with listening([Tab(far.ws, witness, "u1", chance)]) as check:
            # Links in use are trusted, and are not asked first whether they are alive.
            assert all([await publisher.publish() for publisher in publishers])
            await verdict(owner, publishers, [witness], check)
            frozen = proxy.saying(name)
            assert frozen
            for wire in frozen:
                wire.freeze()
            for _ in range(10):
                assert all([await publisher.publish() for publisher in publishers])
            await verdict(owner, publishers, [witness], check)


async def test_a_storm_before_the_database_leaves_no_gap(
    two_tenants: str, owner: SyncConnection, seed: int, minutes: float
) -> None:
    chance = random.Random(seed)
    async with (
        behind_a_proxy(two_tenants) as (proxy, through),
        two_gateways(two_tenants, through) as (near, far),
    ):
        publishers = [Publisher(tenant, [near, far], chance) for tenant in TENANTS]
        subscribers: list[Tab | Taker] = []
        for number in range(8):
            witness = await begin(near, TENANTS[number % 2])
            at = (near, far)[number // 2 % 2]
            subscribers.append(Tab(at.ws, witness, f"u{number}", chance))
        async with listening(subscribers) as check:
            publishing = [asyncio.create_task(one.run(0.03)) for one in publishers]
            done = await storm(proxy, chance, minutes * 60 or STORM_SECONDS)
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
            await verdict(owner, publishers, [one.witness for one in subscribers], check)
    await until(lambda: not proxy.wires, "the end of all wires")
    assert all(done[fault] for fault in ("reset", "cut")), done

"""Faults between clients and two gateways: whoever comes back has missed nothing."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from conftest import SyncConnection
from faults.account import Publisher, verdict
from faults.conftest import TENANTS
from faults.proxy import proxy_to, to_port
from faults.storm import FAULTS, storm
from faults.subscribers import SETTINGS, Tab, Taker, listening, stalled
from service.harness import Gateway, running_gateway, settings_for, token
from service.witness import Witness

STORM_SECONDS = 6.0
TABS, MANY_TABS = 100, 1000
QUICK: tuple[float, ...] = ()
SLEEPY = (0.3, 2.0)


@pytest.fixture
async def gateways(two_tenants: str) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    """Two gateways of one database, with small rings, so that both the ring and the log serve."""
    settings = settings_for(
        two_tenants,
        ring_events=64,
        sessions_per_user=2 * MANY_TABS,
        unauthenticated_per_address=2 * MANY_TABS,
        **SETTINGS,
    )
    async with (
        running_gateway(settings, with_worker=False) as one,
        running_gateway(settings, with_worker=False) as two,
    ):
        yield one, two


async def begin(gateway: Gateway, tenant: str) -> Witness:
    jwt = token("beginner", tenant=tenant)
    return Witness(tenant, (await gateway.get("/api/events", jwt)).json()["to"])


async def test_random_faults_leave_no_gap_in_what_any_client_saw(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection, seed: int, minutes: float
) -> None:
    chance = random.Random(seed)
    dial = to_port(*(gateway.port for gateway in gateways), choose=chance.choice)
    publishers = [Publisher(tenant, gateways, chance) for tenant in TENANTS]
    async with proxy_to(dial) as proxy:
        websocket, http = f"ws://127.0.0.1:{proxy.port}/ws", f"http://127.0.0.1:{proxy.port}"
        subscribers: list[Tab | Taker] = []
        for number, naps in enumerate([QUICK, QUICK, SLEEPY] * 4):
            witness = await begin(gateways[0], TENANTS[number % 2])
            kind, url = ((Tab, websocket), (Taker, http))[number // 2 % 2]
            subscribers.append(kind(url, witness, f"u{number}", chance, naps))
        async with listening(subscribers) as check:
            publishing = [asyncio.create_task(one.run(0.03)) for one in publishers]
            done = await storm(proxy, chance, minutes * 60 or STORM_SECONDS)
            for task in publishing:
                task.cancel()
            await asyncio.gather(*publishing, return_exceptions=True)
            witnesses = [subscriber.witness for subscriber in subscribers]
            assert await verdict(owner, publishers, witnesses, check) > 30
    # A storm in which nothing befell anybody would prove nothing.
    assert all(done[fault] for fault in FAULTS), done
    assert proxy.accepted > 2 * len(subscribers)


async def test_stalled_readers_and_all_tabs_of_one_user_delay_nobody(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection, seed: int, minutes: float
) -> None:
    chance = random.Random(seed)
    # 600 KB each: more than lies in the buffers of somebody who does not read.
    padding = "x" * 15_000
    publishers = [Publisher(tenant, gateways, chance, padding) for tenant in TENANTS]
    count = MANY_TABS if minutes else TABS
    async with AsyncExitStack() as stack:
        for number in range(10):
            witness = await begin(gateways[0], "t1")
            port = gateways[number % 2].port
            await stack.enter_async_context(stalled(port, witness, f"stalled-{number}"))
        tabs: list[Tab | Taker] = []
        for number in range(count):
            witness = await begin(gateways[0], "t1")
            url = gateways[number % 2].ws
            naps = SLEEPY if number % 10 == 0 else QUICK
            tabs.append(Tab(url, witness, "collector", chance, naps))
        async with listening(tabs) as check:
            for _ in range(40):
                for publisher in publishers:
                    await publisher.publish_surely()
            await verdict(owner, publishers, [tab.witness for tab in tabs], check)


async def test_all_that_are_cut_off_at_once_come_back_with_everything(
    gateways: tuple[Gateway, Gateway], owner: SyncConnection, seed: int
) -> None:
    chance = random.Random(seed)
    dial = to_port(*(gateway.port for gateway in gateways), choose=chance.choice)
    publishers = [Publisher(tenant, gateways, chance) for tenant in TENANTS]
    async with proxy_to(dial) as proxy:
        tabs: list[Tab | Taker] = []
        for number in range(60):
            witness = await begin(gateways[0], TENANTS[number % 2])
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            tabs.append(Tab(url, witness, f"u{number}", chance))
        async with listening(tabs) as check:
            for fault in ("cut", "reset", "freeze"):
                for number in range(20):
                    if number == 5:
                        for wire in list(proxy.wires):
                            getattr(wire, fault)()
                    for publisher in publishers:
                        await publisher.publish_surely()
                await verdict(owner, publishers, [tab.witness for tab in tabs], check)

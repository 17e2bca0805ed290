"""A device goes on where it acknowledged, on any gateway, and one session at a time has it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from chatsync.gateway import devices
from conftest import Connections, SyncConnection
from service.following import hear, numbers, say, until
from service.harness import (
    Client,
    Gateway,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
)


@asynccontextmanager
async def two_gateways(url: str, **more: Any) -> AsyncGenerator[tuple[Gateway, Gateway]]:
    async with (
        running_gateway(settings_for(url, **more), with_worker=False) as one,
        running_gateway(settings_for(url, **more), with_worker=False) as other,
    ):
        yield one, other


def kept(owner: SyncConnection, device: str = "phone") -> int | None:
    row = owner.execute("select seq from chatsync.receipts where device = %s", [device]).fetchone()
    return None if row is None or row[0] is None else int(str(row[0]))


async def test_a_device_goes_on_where_it_acknowledged_on_any_gateway(
    database_url: str, tenant: str, worker: SyncConnection, owner: SyncConnection
) -> None:
    assert tenant
    async with two_gateways(database_url) as (one, other):
        async with one.session(device="phone") as agent:
            assert agent.seen[0]["reason"] == "new"
            say(worker, 1)
            taken = (await hear(agent, 1))[-1]["to"]
            await agent.send(type="ack", cursor=taken)
            say(worker, 2)
            await hear(agent, 2)
        await until(lambda: kept(owner) == 1)
        say(worker, 3)

        async with other.session(device="phone") as agent:
            connected = agent.seen[0]
            frames = await hear(agent, 3)
        assert (connected["recovered"], connected["cursor"]) == (True, taken)
        assert numbers(frames) == [2, 3]
        assert all(frame["replay"] for frame in frames if 2 in numbers([frame]))

        # On the gateway where it left, also what was acknowledged a moment ago is known.
        async with other.session(device="phone") as agent:
            await agent.send(type="ack", cursor=(await hear(agent, 3))[-1]["to"])
        async with other.session(device="phone") as agent:
            assert agent.seen[0]["recovered"] is True
            say(worker, 4)
            assert numbers(await hear(agent, 4)) == [4]


async def test_who_held_less_missed_too_much_or_said_nothing_begins_anew(
    database_url: str, tenant: str, worker: SyncConnection, owner: SyncConnection
) -> None:
    assert tenant
    async with two_gateways(database_url, offline_max_events=3) as (one, other):
        async with one.session(device="silent") as silent:
            async with one.session(device="phone", topics=["tenant"]) as agent:
                say(worker, 1)
                await agent.send(type="ack", cursor=(await hear(agent, 1))[-1]["to"])
            await hear(silent, 1)
        await until(lambda: kept(owner) == 1)

        async def opened(gateway: Gateway, **hello: Any) -> tuple[bool, str | None]:
            async with gateway.session(**hello) as agent:
                return agent.seen[0]["recovered"], agent.seen[0].get("reason")

        assert await opened(other, device="silent") == (False, "new")
        assert await opened(other, device="phone") == (False, "new")
        assert await opened(other, device="phone", topics=["empresa:t1"]) == (True, None)
        assert await opened(other, device="phone", topics=["tenant"], jwt=token("u2")) == (
            False,
            "new",
        )
        say(worker, 2, 3, 4)
        async with one.session() as watcher, other.session() as there:
            say(worker, 5)
            await hear(watcher, 5)
            await hear(there, 5)
        assert await opened(other, device="phone", topics=["tenant"]) == (False, "new")


@pytest.mark.parametrize("is_other", [False, True])
async def test_a_second_session_of_a_device_ends_the_first(
    database_url: str, tenant: str, worker: SyncConnection, is_other: bool
) -> None:
    assert tenant
    async with (
        two_gateways(database_url) as (one, other),
        one.session(device="phone") as first,
        one.session(device="desk") as neighbour,
        one.session(jwt=token("u2"), device="phone") as stranger,
        (other if is_other else one).session(device="phone") as second,
    ):
        code, closing = await first.closed()
        assert code == closing["code"] == 4506
        say(worker, 1)
        for agent in (second, neighbour, stranger):
            await hear(agent, 1)


async def test_a_takeover_whose_hint_is_lost_is_found_by_looking(
    database_url: str, tenant: str, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(devices, "FLUSH_SECONDS", 0.05)
    settings = settings_for(database_url)
    async with (
        running_gateway(settings, with_worker=False) as gateway,
        gateway.session(device="phone") as agent,
    ):
        elsewhere = connections.open("chatsync_gateway", tenants=tenant)
        elsewhere.execute("select chatsync.take_device('t1', 'u1', 'phone', 'elsewhere', 7)")
        assert (await agent.closed())[0] == 4506


async def test_nothing_is_written_while_nothing_changes(
    database_url: str, tenant: str, worker: SyncConnection, owner: SyncConnection
) -> None:
    assert tenant

    def version() -> tuple[object, ...] | None:
        return owner.execute(
            "select xmin::text, ctid::text from chatsync.receipts where device = 'phone'"
        ).fetchone()

    settings = settings_for(database_url)
    async with (
        running_gateway(settings, with_worker=False) as gateway,
        gateway.session(device="phone") as agent,
        gateway.session(device="desk") as other,
    ):
        say(worker, 1)
        taken = (await hear(agent, 1))[-1]["to"]
        await hear(other, 1)
        await agent.send(type="ack", cursor=taken)
        await until(lambda: kept(owner) == 1)
        before = version()
        await agent.send(type="ack", cursor=taken)
        await agent.send(type="ping", n=1)
        await agent.next("pong")
        # The next batch holds the other device alone.
        await other.send(type="ack", cursor=taken)
        await until(lambda: kept(owner, "desk") == 1)
        assert version() == before


async def test_of_a_killed_gateway_what_was_acknowledged_last_comes_again_and_nothing_is_lost(
    database_url: str, tenant: str, worker: SyncConnection, owner: SyncConnection, tmp_path: Path
) -> None:
    assert tenant
    port, log = free_port(), tmp_path / "log"
    with process("serve", "--port", str(port), database_url=database_url, log=log) as serving:
        async with connect_when_up(port) as agent:
            await agent.send(type="connect", token=token(), device="phone")
            await agent.next("connected")
            say(worker, 1)
            await agent.send(type="ack", cursor=(await hear(agent, 1))[-1]["to"])
            await until(lambda: kept(owner) == 1)
            say(worker, 2, 3)
            await agent.send(type="ack", cursor=(await hear(agent, 3))[-1]["to"])
            serving.kill()
    say(worker, 4)
    settings = settings_for(database_url)
    async with (
        running_gateway(settings, with_worker=False) as other,
        other.session(device="phone") as agent,
    ):
        assert agent.seen[0]["recovered"] is True
        seen = numbers(await hear(agent, 4))
    assert seen in ([2, 3, 4], [3, 4], [4])


@asynccontextmanager
async def connect_when_up(port: int) -> AsyncGenerator[Client]:
    sockets: list[Any] = []

    async def attempt() -> bool:
        try:
            sockets.append(await connect(f"ws://127.0.0.1:{port}/ws"))
        except OSError:
            return False
        return True

    while not await attempt():
        pass
    async with sockets[0] as socket:
        yield Client(socket)

"""Typing between agents: relayed, debounced, stopped, of one tenant."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from service.harness import (
    Client,
    Gateway,
    create_inbox,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
    wait_for,
)
from service.payloads import Frame, delivery, said
from service.presence import is_open


@pytest.fixture
async def other(gateway: Gateway, database_url: str) -> AsyncGenerator[Gateway]:
    assert gateway
    async with running_gateway(settings_for(database_url), with_worker=False) as running:
        yield running


@pytest.fixture
async def conversation(gateway: Gateway) -> str:
    """The id of a conversation of t1."""
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hello", "w1")))
        event = (await agent.events(1))[0]
    return str(event["data"].get("conversationId") or event["data"]["conversation"]["id"])


async def typing(client: Client) -> Frame:
    frame = await client.next("ephemeral")
    assert frame["topic"].startswith("conversation:")
    return frame


async def test_typing_is_relayed_to_whoever_looks_here_and_elsewhere(
    gateway: Gateway, other: Gateway, conversation: str
) -> None:
    topics = [f"conversation:{conversation}"]
    async with (
        gateway.session(token("ana"), topics=topics) as ana,
        gateway.session(token("ana"), topics=topics) as tab,
        gateway.session(token("bo"), topics=topics) as here,
        other.session(token("cy"), topics=topics) as there,
        other.session(token("di")) as elsewhere,
    ):
        await ana.send(type="typing", conversationId=conversation, active=True, id=1)
        assert (await ana.next("reply"))["id"] == 1
        for client in (here, there, tab):
            frame = await typing(client)
            assert frame["event"] == "typing:start"
            assert frame["topic"] == topics[0]
            assert frame["data"] == {"conversationId": conversation, "userId": "ana"}
            assert 3000 < frame["ttlMs"] <= 6000
        await ana.send(type="typing", conversationId=conversation, active=False)
        for client in (here, there, tab):
            frame = await typing(client)
            assert (frame["event"], "ttlMs" in frame) == ("typing:stop", False)
        for client in (ana, elsewhere):
            await client.send(type="ping", n=1)
            await client.next("pong")
            assert "ephemeral" not in {frame["type"] for frame in client.seen}


async def test_the_server_stops_what_is_not_renewed(gateway: Gateway, conversation: str) -> None:
    topics = [f"conversation:{conversation}"]
    async with (
        gateway.session(token("ana")) as ana,
        gateway.session(token("bo"), topics=topics) as bo,
    ):
        began = time.monotonic()
        await ana.send(type="typing", conversationId=conversation, active=True)
        assert (await typing(bo))["event"] == "typing:start"
        assert (await typing(bo))["event"] == "typing:stop"
        assert 2.5 < time.monotonic() - began < 4.5


async def test_a_socket_that_closes_stops_typing_at_once(
    gateway: Gateway, other: Gateway, conversation: str
) -> None:
    topics = [f"conversation:{conversation}"]
    async with other.session(token("bo"), topics=topics) as bo:
        async with gateway.session(token("ana")) as ana:
            await ana.send(type="typing", conversationId=conversation, active=True)
            assert (await typing(bo))["event"] == "typing:start"
        began = time.monotonic()
        assert (await typing(bo))["event"] == "typing:stop"
        assert time.monotonic() - began < 2


async def test_a_flood_of_typing_is_debounced(
    gateway: Gateway, other: Gateway, conversation: str
) -> None:
    topics = [f"conversation:{conversation}"]
    async with (
        gateway.session(token("ana")) as ana,
        other.session(token("bo"), topics=topics) as bo,
    ):
        for number in range(80):
            await ana.send(type="typing", conversationId=conversation, active=number % 2 == 0)
        await ana.send(type="typing", conversationId=conversation, active=True, id=1)
        await ana.next("reply")
        events: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.5):
                while True:
                    events.append((await typing(bo))["event"])
    # In two seconds one start and one stop; then that it goes on.
    assert "typing:start" in events
    assert len(events) <= 4


async def test_typing_where_one_may_not_look_is_refused(
    gateway: Gateway, database_url: str, conversation: str
) -> None:
    create_inbox(database_url, "t2", "200")
    topics = [f"conversation:{conversation}"]
    async with (
        gateway.session(token("bo"), topics=topics) as bo,
        gateway.session(token("eve", tenant="t2")) as eve,
    ):
        for unknown in (conversation, "999999"):
            await eve.send(type="typing", conversationId=unknown, active=True, id=unknown)
            error = await eve.next("error")
            assert (error["code"], error["id"]) == ("not_found", unknown)
            assert error["message"] == "unknown conversation"
        await bo.send(type="ping", n=1)
        await bo.next("pong")
        assert "ephemeral" not in {frame["type"] for frame in bo.seen}


async def test_typing_ends_within_six_seconds_of_a_crash(
    gateway: Gateway, database_url: str, conversation: str, tmp_path: Path
) -> None:
    port = free_port()
    topics = [f"conversation:{conversation}"]
    with process(
        "serve", database_url=database_url, log=tmp_path / "log", CHATSYNC_PORT=str(port)
    ) as doomed:
        await asyncio.to_thread(wait_for, lambda: is_open(port), "listening")
        there = Gateway(f"http://127.0.0.1:{port}", gateway.http, gateway.hub, gateway.server)
        async with (
            gateway.session(token("bo"), topics=topics) as bo,
            there.session(token("ana")) as ana,
        ):
            await ana.send(type="typing", conversationId=conversation, active=True)
            assert (await typing(bo))["event"] == "typing:start"
            doomed.kill()
            began = time.monotonic()
            assert (await typing(bo))["event"] == "typing:stop"
            assert time.monotonic() - began < 6

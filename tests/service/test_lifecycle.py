"""The life of gateway processes: several on one port, stalled readers, a database that is away."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.gateway import open_files
from conftest import SyncConnection
from service.harness import (
    Client,
    Process,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
    wait_for,
)
from service.payloads import delivery, said

DRAIN_SECONDS = 1
# What uvicorn gives requests that do not end, and Python to end on a busy machine.
REST_SECONDS = 7


def is_ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


@asynccontextmanager
async def session(port: int, **options: Any) -> AsyncGenerator[Client]:
    async with connect(f"ws://127.0.0.1:{port}/ws", close_timeout=1, **options) as ws:
        client = Client(ws)
        await client.send(type="connect", token=token())
        await client.next("connected")
        yield client


async def stats(port: int) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token(role='admin')}"}
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/api/stats", headers=headers)
    return answer.json()


def sessions_in_metrics(port: int) -> float:
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith('chatsync_sessions{transport="websocket"}')
    ]
    return float(line.split()[-1])


@pytest.fixture
def serving(database_url: str, inbox_id: int, tmp_path: Path) -> Generator[tuple[Process, int]]:
    """Two worker processes on one port."""
    port = free_port()
    with process(
        *("serve", "--workers", "2", "--port", str(port)),
        database_url=database_url,
        log=tmp_path / "log",
        CHATSYNC_DRAIN_SECONDS=str(DRAIN_SECONDS),
    ) as running:
        wait_for(lambda: is_ready(port), "readiness")
        yield running, port
    assert "Traceback" not in (tmp_path / "log").read_text()


async def test_worker_processes_share_a_port_and_add_up_what_they_do(
    serving: tuple[Process, int],
) -> None:
    running, port = serving

    async def both_are_counted() -> bool:
        return (await stats(port))["gateways"] == 2

    async with asyncio.timeout(15):
        while not await both_are_counted():  # noqa: ASYNC110 - nothing to wait on
            await asyncio.sleep(0.1)
    async with session(port), session(port), session(port), session(port):
        assert await asyncio.to_thread(sessions_in_metrics, port) == 4
        async with asyncio.timeout(15):
            while (await stats(port))["totalConnections"] != 4:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    running.kill(15)
    assert await asyncio.to_thread(running.wait) == 0


async def test_all_worker_processes_send_their_sessions_away(
    serving: tuple[Process, int],
) -> None:
    running, port = serving
    async with session(port) as one, session(port) as two, session(port) as three:
        running.kill(15)
        ends = [await client.closed() for client in (one, two, three)]
        assert await asyncio.to_thread(running.wait) == 0

    assert [code for code, _ in ends] == [4100] * 3
    assert all(closing["retryMs"][0] < closing["retryMs"][1] for _, closing in ends)


async def test_a_drain_ends_in_time_though_readers_are_stalled(
    serving: tuple[Process, int], owner: SyncConnection
) -> None:
    running, port = serving
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", port))
        # It reads what it has room for, and then no more.
        async with session(port, sock=narrow, max_queue=1) as stalled, session(port) as reading:
            stalled.socket.transport.pause_reading()
            for _ in range(4):
                owner.execute(
                    "select chatsync.publish('t1', array['tenant:t1'], 'x',"
                    " jsonb_build_object('much', repeat('x', 60000)))"
                    " from generate_series(1, 100)"
                )
            owner.execute("select chatsync.stamp(1000)")
            owner.execute("notify chatsync")
            await reading.events(400)
            began_at = time.monotonic()
            running.kill(15)
            code, _ = await reading.closed()
            assert code == 4100
            assert await asyncio.to_thread(running.wait) == 0
            assert time.monotonic() - began_at < DRAIN_SECONDS + REST_SECONDS
            stalled.socket.transport.abort()


async def test_sessions_stay_while_the_database_is_away_and_hear_of_what_comes_after(
    server: EmbeddedPostgres,
) -> None:
    async with running_gateway(settings_for(server.url)) as gateway, gateway.session() as agent:
        await asyncio.to_thread(server._end)
        ready = await gateway.http.get("/readyz")
        live = await gateway.http.get("/livez")
        await agent.send(type="ping", n=7)
        pong = await agent.next("pong")
        figures = await gateway.get("/api/stats")
        assert len(gateway.hub) == 1
        await asyncio.to_thread(server.restart)
        began_at = time.monotonic()
        answer = await gateway.post(delivery(said("back", "w1")))
        while answer.status_code == 503:
            answer = await gateway.post(delivery(said("back", "w1")))
        events = await agent.events(2)
        # The listener has to hear itself first.
        await gateway.until_ready()
        took = time.monotonic() - began_at

    assert (ready.status_code, live.status_code) == (503, 200)
    assert ready.json()["checks"]["database"] != "ok"
    assert pong["n"] == 7
    assert figures.status_code == 503
    assert events[1]["data"]["message"]["content"] == "back"
    assert took < 10


@pytest.fixture
def low_limit() -> Generator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 600
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    yield low
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_soft_limit_of_open_files_is_raised_to_what_sessions_need(low_limit: int) -> None:
    open_files.make_room(100)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 100 + open_files.RESERVED
    open_files.make_room(10)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 100 + open_files.RESERVED


def test_a_hard_limit_that_is_too_low_is_complained_about(
    low_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (low_limit, 700))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(open_files.log, "warning", lambda event, **more: said.append(more))
    open_files.make_room(10_000)
    assert said == [{"limit": 700, "wanted": 10_000 + open_files.RESERVED, "sessions": 10_000}]

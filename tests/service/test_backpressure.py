"""A client that does not read: it costs nobody else anything, and misses nothing."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for, token
from service.raw_socket import TEXT, RawSocket, frame

pytestmark = pytest.mark.usefixtures("clean_logs")

EVENTS = 6_000
PUBLISH = """
select chatsync.publish(
  't1', array['tenant:t1'], 'test', jsonb_build_object('n', n, 'text', %s::text)
)
from generate_series(%s::integer, %s::integer) n
"""


async def _slow_socket(gateway: Gateway) -> RawSocket:
    """A connected session whose kernel buffers next to nothing."""
    split = urlsplit(gateway.ws)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    assert split.hostname is not None
    assert split.port is not None
    await asyncio.get_running_loop().sock_connect(connection, (split.hostname, split.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    slow = RawSocket(reader, writer)
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {split.netloc}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    await slow.send(frame(TEXT, json.dumps({"type": "connect", "token": token()}).encode()))
    assert (await _next(slow))["type"] == "connected"
    return slow


async def _next(slow: RawSocket) -> dict[str, Any]:
    received = await slow.next()
    assert received is not None
    assert received.opcode == TEXT, received
    return json.loads(received.payload)


async def test_a_client_that_stalls_catches_up_and_delays_nobody(
    gateway: Gateway, worker: SyncConnection
) -> None:
    slow = await _slow_socket(gateway)
    async with gateway.session() as fast:
        for first in range(1, EVENTS, 500):
            worker.execute(PUBLISH, ["x" * 1000, first, first + 499])
            # Who reads has everything while the other one's socket is full.
            numbers = [event["data"]["n"] for event in await fast.events(500)]
            assert numbers == list(range(first, first + 500))

        seen: list[int] = []
        before = None
        while len(seen) < EVENTS:
            events = await _next(slow)
            if events["type"] == "ping":
                pong = {"type": "pong", "n": events["n"]}
                await slow.send(frame(TEXT, json.dumps(pong).encode()))
                continue
            assert before in (None, events["from"])
            before = events["to"]
            seen += [event["data"]["n"] for event in events["events"]]
        assert seen == list(range(1, EVENTS + 1))

        # And it is live again.
        worker.execute(PUBLISH, ["live", EVENTS + 1, EVENTS + 1])
        assert (await _next(slow))["events"][0]["data"]["text"] == "live"
    slow.writer.transport.abort()


async def test_a_client_that_stalls_is_closed_when_it_does_not_answer(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    settings = settings_for(database_url, ping_interval_ms=200)
    async with running_gateway(settings) as gateway:
        slow = await _slow_socket(gateway)
        worker.execute(PUBLISH, ["x" * 1000, 1, 5_000])
        async with asyncio.timeout(30):
            while len(gateway.hub):  # noqa: ASYNC110 - a hub says it by nothing else
                await asyncio.sleep(0.05)
        slow.writer.transport.abort()

"""Clients that keep account of all they see: quick, sleeping or stalled, on sockets of their own.

They resume by themselves wherever they are let in, hold each frame against the position before it,
and never forgive: a reset, a gap or an overlap within retention fails the test at once.
"""

import asyncio
import json
import random
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from chatsync.client import Client, Event, Pace, SnapshotNeeded
from service.harness import token
from service.payloads import Frame
from service.witness import Witness, seq

# Longer than the heartbeat that SETTINGS ask for.
SILENCE_SECONDS = 2.5
SOON_SECONDS, LATE_SECONDS = 0.2, 10.0
SETTINGS = {"ping_interval_ms": 1000, "ping_timeout_ms": 500, "ack_timeout_ms": 500}
_ENDED = (OSError, WebSocketException, TimeoutError, EOFError)


@dataclass
class Tab:
    """One browser's tab on a raw socket. `naps` are how long it may stop to read, now and then."""

    url: str
    witness: Witness
    user: str
    chance: random.Random
    naps: tuple[float, ...] = ()
    closed_with: list[int] = field(default_factory=list[int])
    visits: int = 0
    heard: int = 0

    async def run(self) -> None:
        """Come back for ever; later each time that nobody is there, as clients have to."""
        patience = SOON_SECONDS
        while True:
            heard = self.heard
            with suppress(*_ENDED):
                await self._visit()
            patience = SOON_SECONDS if self.heard > heard else min(2 * patience, LATE_SECONDS)
            await asyncio.sleep(self.chance.uniform(0, patience))

    async def _visit(self) -> None:
        async with connect(
            self.url, open_timeout=SILENCE_SECONDS, close_timeout=0.1, max_queue=4, compression=None
        ) as socket:
            hello = {"type": "connect", "cursor": self.witness.cursor, "topics": ["tenant"]}
            jwt = token(self.user, tenant=self.witness.tenant)
            await socket.send(json.dumps({**hello, "token": jwt}))
            self.visits += 1
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    raw = await socket.recv()
                await self._hear(socket, json.loads(raw))
                if self.naps and self.chance.random() < 0.05:
                    await asyncio.sleep(self.chance.choice(self.naps))

    async def _hear(self, socket: ClientConnection, frame: Frame) -> None:
        self.heard += 1
        match frame["type"]:
            case "connected":
                assert frame["recovered"], frame
                assert frame["cursor"] == self.witness.cursor
            case "events":
                take(self.witness, frame)
            case "ping":
                assert seq(frame["cursor"]) <= seq(self.witness.cursor), "a ping overtook events"
                pong = {"type": "pong", "n": frame["n"], "cursor": self.witness.cursor}
                await socket.send(json.dumps(pong))
            case "closing":
                self.closed_with.append(frame["code"])
            case "error":
                # While the database is away; the close that follows says when to come back.
                assert (frame["code"], frame["retryable"]) == ("unavailable", True)
            case kind:
                raise AssertionError(f"a {kind} frame: {frame}")


def take(witness: Witness, frame: Frame) -> None:
    """Take a frame as the protocol has it: of one that comes again, only what is newer."""
    if not frame.get("redelivered"):
        witness.see(frame)
    elif seq(frame["to"]) > seq(witness.cursor):
        assert seq(frame["from"]) <= seq(witness.cursor), "a redelivery leaves a gap"
        newer = [event for event in frame["events"] if event["seq"] > seq(witness.cursor)]
        witness.see({"from": witness.cursor, "to": frame["to"], "events": newer})


@dataclass
class Taker:
    """An application on the Python client. `naps` as for a tab."""

    url: str
    witness: Witness
    user: str
    chance: random.Random
    naps: tuple[float, ...] = ()

    async def run(self) -> None:
        witness = self.witness
        pace = Pace(
            uniform=lambda least, most: min(most, least + self.chance.uniform(0, 0.2)),
            connect_seconds=SILENCE_SECONDS,
            waiting_entries=8,
        )
        jwt = token(self.user, tenant=witness.tenant)
        async with Client(
            self.url, jwt, topics=["tenant"], cursor=witness.cursor, pace=pace
        ) as client:
            async for entry in client.events():
                if isinstance(entry, Event):
                    witness.events.append(_wire(entry))
                    witness.cursor = entry.cursor
                assert not isinstance(entry, SnapshotNeeded), entry
                if self.naps and self.chance.random() < 0.02:
                    await asyncio.sleep(self.chance.choice(self.naps))


def _wire(event: Event) -> Frame:
    return {
        "seq": event.seq,
        "type": event.type,
        "topics": list(event.topics),
        "data": event.data,
    }


@asynccontextmanager
async def stalled(port: int, witness: Witness, user: str) -> AsyncGenerator[socket.socket]:
    """A client that subscribes and then never reads again."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        upgrade = (
            "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Authorization: Bearer {token(user, tenant=witness.tenant)}\r\n\r\n"
        )
        await loop.sock_sendall(sock, upgrade.encode())
        assert b"101" in await loop.sock_recv(sock, 1024)
        hello = json.dumps({"type": "connect", "cursor": witness.cursor, "topics": ["tenant"]})
        await loop.sock_sendall(sock, _masked(hello.encode()))
        yield sock


def _masked(payload: bytes) -> bytes:
    """A client's frame of at most 125 bytes, masked with zeros."""
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


@asynccontextmanager
async def listening(subscribers: "list[Tab | Taker]") -> AsyncGenerator[Callable[[], None]]:
    """Have all of them listen; the function that is given raises what went wrong with any."""
    tasks = [asyncio.create_task(subscriber.run()) for subscriber in subscribers]

    def check() -> None:
        for task in tasks:
            if task.done():
                task.result()
                raise AssertionError("a subscriber has ended")

    try:
        yield check
        check()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Subscribers that count what arrives, the same for all sides.

A subscriber reads the bytes of its socket and looks for the name of the event; it decodes no frame,
because on a machine of two cores every microsecond here is taken from the servers.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from side_by_side.deliveries import NUMBER_MARK
from side_by_side.processes import BenchmarkError

_MARK = b'"message:new"'
# A message:new names its own message before any other: the first number after the event's name.
_NUMBERED = re.compile(rb'"message:new".*?' + NUMBER_MARK + rb"(\d{8})", re.DOTALL)
_HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to subscribe: the upgrade, the first frame sent, what confirms it, pings and pongs."""

    upgrade: bytes
    hello: bytes
    confirmed: bytes
    ping: bytes
    pong: bytes


def upgrade(path: str, *headers: str) -> bytes:
    """A request for a WebSocket; the answer to its key is not looked at."""
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def text_frame(text: str) -> bytes:
    """A client's WebSocket frame, masked with zeros (RFC 6455 §5.2), so that it stays as it is."""
    payload = text.encode()
    if len(payload) < 126:
        return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload
    return bytes((0x81, 0xFE)) + len(payload).to_bytes(2, "big") + bytes(4) + payload


@dataclass(slots=True)
class Tally:
    """What all subscribers have seen together; `reached` is set when each has seen `target`."""

    sockets: int
    target: int = 0
    counts: list[int] = field(default_factory=list[int])
    last_at: float = 0.0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    is_broken: bool = False
    seen_at: Callable[[int, float], None] | None = None

    async def until(self, target: int, seconds: float) -> None:
        """Return when every socket has `target` messages. Raises BenchmarkError after `seconds`."""
        self.target = target
        self.reached.clear()
        self.check()
        try:
            await asyncio.wait_for(self.reached.wait(), seconds)
        except TimeoutError:
            raise BenchmarkError(f"after {seconds:.0f} s sockets have {self.counts}") from None
        if self.is_broken:
            raise BenchmarkError("the server closed the socket of a subscriber")
        if max(self.counts) != target:
            raise BenchmarkError(f"sockets have {self.counts} instead of {target} messages")

    def check(self) -> None:
        if self.is_broken or min(self.counts) >= self.target:
            self.last_at = time.monotonic()
            self.reached.set()


async def subscribe(port: int, dialect: Dialect, tally: Tally) -> None:
    """Open the sockets of a tally; returns when all are live."""
    loop = asyncio.get_running_loop()
    tally.counts = [0] * tally.sockets
    for index in range(tally.sockets):
        _, subscriber = await loop.create_connection(
            lambda index=index: _Subscriber(dialect, tally, index), "127.0.0.1", port
        )
        try:
            await asyncio.wait_for(subscriber.confirmed, _HANDSHAKE_SECONDS)
        except TimeoutError:
            raise BenchmarkError("a subscriber was not answered") from None


class _Subscriber(asyncio.Protocol):
    """One socket that counts what arrives."""

    def __init__(self, dialect: Dialect, tally: Tally, index: int) -> None:
        self._dialect = dialect
        self._tally = tally
        self._index = index
        self._tail = b""
        self._transport: asyncio.WriteTransport | None = None
        self._is_greeted = False
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._write(self._dialect.upgrade)

    def data_received(self, data: bytes) -> None:
        if not self.confirmed.done():
            self._shake_hands(data)
            return
        if self._dialect.ping in data:
            self._write(self._dialect.pong)
        buffer = self._tail + data
        if self._tally.seen_at is None:
            found = buffer.count(_MARK)
            self._tail = buffer[-len(_MARK) + 1 :]
        else:
            found = self._look_for_numbers(buffer, self._tally.seen_at)
        if found:
            self._tally.counts[self._index] += found
            self._tally.check()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.confirmed.done():
            self._tally.is_broken = True
            self._tally.check()
        else:
            said = self._tail.decode(errors="replace").partition("\r\n")[0]
            self.confirmed.set_exception(BenchmarkError(f"a subscriber was refused: {said}"))

    def _shake_hands(self, data: bytes) -> None:
        self._tail += data
        if not self._is_greeted and b"\r\n\r\n" in self._tail:
            self._is_greeted = True
            self._write(self._dialect.hello)
        if self._dialect.confirmed in self._tail:
            self._tail = b""
            self.confirmed.set_result(None)

    def _look_for_numbers(self, buffer: bytes, seen_at: Callable[[int, float], None]) -> int:
        now = time.monotonic()
        found, end = 0, 0
        for match in _NUMBERED.finditer(buffer):
            seen_at(int(match[1]), now)
            found += 1
            end = match.end()
        begun = buffer.find(_MARK, end)
        self._tail = buffer[begun if begun >= 0 else max(end, len(buffer) - len(_MARK) + 1) :]
        return found

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

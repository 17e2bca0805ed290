"""Cheap clients, the same for both sides: posters that keep their connections, and subscribers.

A subscriber reads the bytes of its socket and looks for the name of the event; it decodes no frame,
because on a machine of two cores every microsecond here is taken from the servers.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from side_by_side.deliveries import NUMBER_MARK
from side_by_side.processes import BenchmarkError

_MARK = b'"message:new"'
# A message:new names its own message before any other: the first number after the event's name.
_NUMBERED = re.compile(rb'"message:new".*?' + NUMBER_MARK + rb"(\d{8})", re.DOTALL)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to subscribe: the upgrade, the first frame sent, what confirms it, pings and pongs."""

    upgrade: bytes
    hello: bytes
    confirmed: bytes
    ping: bytes
    pong: bytes
    greets_first: bool = False


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
        if max(self.counts) != target:
            raise BenchmarkError(f"sockets have {self.counts} instead of {target} messages")

    def check(self) -> None:
        if min(self.counts) >= self.target:
            self.last_at = time.monotonic()
            self.reached.set()


class Subscriber(asyncio.Protocol):
    """One socket that counts what arrives."""

    def __init__(self, dialect: Dialect, tally: Tally, index: int) -> None:
        self._dialect = dialect
        self._tally = tally
        self._index = index
        self._tail = b""
        self._transport: asyncio.WriteTransport | None = None
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]
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
            found = self._look_for_numbers(buffer)
        if found:
            self._tally.counts[self._index] += found
            self._tally.check()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.confirmed.done():
            self.confirmed.set_exception(
                BenchmarkError(f"a subscriber was refused: {self._tail!r}")
            )

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def _shake_hands(self, data: bytes) -> None:
        self._tail += data
        if not self._is_greeted and b"\r\n\r\n" in self._tail:
            self._is_greeted = True
            self._write(self._dialect.hello)
        if self._dialect.confirmed in self._tail:
            self._tail = b""
            self.confirmed.set_result(None)

    def _look_for_numbers(self, buffer: bytes) -> int:
        now = time.monotonic()
        found, end = 0, 0
        seen_at = self._tally.seen_at
        assert seen_at is not None
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


async def subscribe(port: int, dialect: Dialect, tally: Tally) -> list[Subscriber]:
    """Open the sockets of a tally; returns when all are live."""
    loop = asyncio.get_running_loop()
    tally.counts = [0] * tally.sockets
    subscribers: list[Subscriber] = []
    for index in range(tally.sockets):
        _, subscriber = await loop.create_connection(
            lambda index=index: Subscriber(dialect, tally, index), "127.0.0.1", port
        )
        await asyncio.wait_for(subscriber.confirmed, 10)
        subscribers.append(subscriber)
    return subscribers


class _Poster(asyncio.Protocol):
    """A kept connection: one request at a time, and a callback when it is answered."""

    def __init__(self, on_answer: Callable[["_Poster", bool], None]) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end)
        if len(self._buffer) < end + 4 + (int(length[1]) if length else 0):
            return
        is_accepted = self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        self._on_answer(self, is_accepted)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._buffer:
            self._on_answer(self, False)


class Posters:
    """Connections to /webhooks/whatsapp, and what was answered."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._posters: list[_Poster] = []
        self._idle: deque[_Poster] = deque()
        self._requests: Iterator[bytes] = iter(())
        self._under_way = 0
        self._is_done = asyncio.Event()
        self.refused = 0

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, poster = await loop.create_connection(
                lambda: _Poster(self._answered), "127.0.0.1", port
            )
            self._posters.append(poster)

    async def flat_out(self, requests: Sequence[bytes]) -> float:
        """Send all, each connection as fast as it is answered; returns when the first was sent."""
        self._requests = iter(requests)
        self._is_done.clear()
        began = time.monotonic()
        for poster in self._posters:
            self._next(poster)
        await self._is_done.wait()
        self._check()
        return began

    async def evenly(self, requests: Sequence[bytes], rate: float) -> list[float]:
        """Send all, `rate` a second whatever is answered; returns when each was sent."""
        self._idle = deque(self._posters)
        self._requests = iter(())
        sent_at: list[float] = []
        began = time.monotonic() + 0.1
        for index, request in enumerate(requests):
            await asyncio.sleep(max(0.0, began + index / rate - time.monotonic()))
            if not self._idle:
                raise BenchmarkError("all connections wait for an answer")
            self._under_way += 1
            # The one that rested longest: servers close a connection that rests for 5 s.
            poster = self._idle.popleft()
            sent_at.append(time.monotonic())
            poster.send(request)
        self._is_done.clear()
        if self._under_way:
            await self._is_done.wait()
        self._check()
        return sent_at

    def close(self) -> None:
        for poster in self._posters:
            poster.close()

    def _answered(self, poster: _Poster, is_accepted: bool) -> None:
        self.refused += not is_accepted
        self._under_way -= 1
        self._idle.append(poster)
        self._next(poster)

    def _next(self, poster: _Poster) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._under_way += 1
            poster.send(request)
        elif self._under_way == 0:
            self._is_done.set()

    def _check(self) -> None:
        if self.refused:
            raise BenchmarkError(f"{self.refused} webhooks were not answered 200")

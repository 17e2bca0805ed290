"""Posters of webhooks: connections that are kept, with one request at a time on each."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from side_by_side.processes import PATIENCE_SECONDS, BenchmarkError

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Posters:
    """Connections to a server, and whether all it was sent was answered 200."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._posters: list[_Poster] = []
        self._idle: deque[_Poster] = deque()
        self._requests: Iterator[bytes] = iter(())
        self._under_way = 0
        self._is_done = asyncio.Event()
        self._is_broken = False
        self._refused = 0

    async def connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, poster = await loop.create_connection(
                lambda: _Poster(self._answered, self._lost), "127.0.0.1", port
            )
            self._posters.append(poster)

    async def flat_out(self, requests: Sequence[bytes]) -> float:
        """Send all, each connection as fast as it is answered; returns when the first was sent."""
        self._requests = iter(requests)
        self._is_done.clear()
        began = time.monotonic()
        for poster in self._posters:
            self._next(poster)
        await self._until_answered()
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
            await self._until_answered()
        return sent_at

    def close(self) -> None:
        for poster in self._posters:
            poster.close()

    def _answered(self, poster: "_Poster", is_accepted: bool) -> None:
        self._refused += not is_accepted
        self._under_way -= 1
        self._idle.append(poster)
        self._next(poster)

    def _lost(self) -> None:
        self._is_broken = True
        self._is_done.set()

    def _next(self, poster: "_Poster") -> None:
        request = next(self._requests, None)
        if request is not None:
            self._under_way += 1
            poster.send(request)
        elif self._under_way == 0:
            self._is_done.set()

    async def _until_answered(self) -> None:
        try:
            await asyncio.wait_for(self._is_done.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            raise BenchmarkError(f"{self._under_way} webhooks are not answered") from None
        if self._is_broken:
            raise BenchmarkError("the server closed a connection instead of answering a webhook")
        if self._refused:
            raise BenchmarkError(f"{self._refused} webhooks were not answered 200")


class _Poster(asyncio.Protocol):
    """A kept connection: tells when its request is answered, or will never be."""

    def __init__(
        self, on_answer: Callable[["_Poster", bool], None], on_loss: Callable[[], None]
    ) -> None:
        self._on_answer = on_answer
        self._on_loss = on_loss
        self._buffer = b""
        self._is_waiting = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._is_waiting = True
        self._transport.write(request)
        if self._transport.is_closing():
            self._on_loss()

    def close(self) -> None:
        assert self._transport is not None
        self._is_waiting = False
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
        self._is_waiting = False
        self._on_answer(self, is_accepted)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_waiting:
            self._on_loss()

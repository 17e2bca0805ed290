"""A proxy with faults: delays, slow lines, cuts in the middle of a frame, resets, half-open links.

Between whoever connects and whatever is dialled, WebSockets and PostgreSQL alike. What was taken in
is passed on in order and unchanged, or the wire ends; nothing is ever lost from its middle.
"""

import asyncio
import math
import socket
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

# Small, so that a wire that passes nothing on soon stops its sender.
CHUNK = 4096
CHUNKS_ON_THE_WAY = 16
# How finely a slow line drips.
DRIP_SECONDS = 0.01

Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial: TypeAlias = Callable[[], Awaitable[Ends]]


@dataclass
class Weather:
    """What befalls all wires of a proxy, also those to come."""

    delay_seconds: float = 0.0
    bytes_per_second: float = math.inf


class Wire:
    """One connection through a proxy. `opening` is the first that its client said."""

    def __init__(self, near: Ends, far: Ends, weather: Weather) -> None:
        self.opening = b""
        self._near, self._far = near, far
        self._weather = weather
        self._flows = asyncio.Event()
        self._flows.set()
        self._ended = asyncio.Event()
        self._is_to_cut = False

    @property
    def is_frozen(self) -> bool:
        return not self._flows.is_set()

    def freeze(self) -> None:
        """Stay open and pass nothing on: neither side hears of it."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """End in the middle of the next that is said to the client."""
        self._is_to_cut = True

    def reset(self) -> None:
        """End now, with an RST to both sides; what was on the way is lost."""
        for _, writer in (self._near, self._far):
            sock = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._ended.set()

    async def run(self) -> None:
        """Pass on both ways until one side ends it, or a fault does."""
        up: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY)
        down: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_ON_THE_WAY)
        tasks = {
            asyncio.create_task(step)
            for step in (
                self._take(self._near[0], up, is_up=True),
                self._take(self._far[0], down, is_up=False),
                self._give(up, self._far[1], is_up=True),
                self._give(down, self._near[1], is_up=False),
            )
        }
        try:
            await self._ended.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._near[1].close()
            self._far[1].close()

    async def _take(
        self,
        reader: asyncio.StreamReader,
        line: "asyncio.Queue[tuple[float, bytes]]",
        *,
        is_up: bool,
    ) -> None:
        data = b"begin"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if is_up and not self.opening:
                self.opening = data
            await line.put((time.monotonic(), data))

    async def _give(
        self,
        line: "asyncio.Queue[tuple[float, bytes]]",
        writer: asyncio.StreamWriter,
        *,
        is_up: bool,
    ) -> None:
        try:
            while True:
                came_at, data = await line.get()
                await asyncio.sleep(came_at + self._weather.delay_seconds - time.monotonic())
                await self._flows.wait()
                if not data:
                    return
                if self._is_to_cut and not is_up:
                    writer.write(data[: len(data) // 2])
                    return
                await self._drip(data, writer)
        except OSError:
            pass
        finally:
            self._ended.set()

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        while data:
            await self._flows.wait()
            rate = self._weather.bytes_per_second
            size = len(data) if math.isinf(rate) else max(1, int(rate * DRIP_SECONDS))
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if not math.isinf(rate):
                await asyncio.sleep(size / rate)


@dataclass
class Proxy:
    """Listens on a port of loopback, and dials for each who connects."""

    dial: Dial
    weather: Weather = field(default_factory=Weather)
    wires: list[Wire] = field(default_factory=list[Wire])
    port: int = 0
    accepted: int = 0
    _serving: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])

    def calm(self) -> None:
        """Let everything flow that is still there."""
        self.weather.delay_seconds, self.weather.bytes_per_second = 0.0, math.inf
        for wire in self.wires:
            wire.thaw()

    def saying(self, opening: bytes) -> list[Wire]:
        """The wires whose clients began with something that holds these bytes."""
        return [wire for wire in self.wires if opening in wire.opening]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._pass((reader, writer))
        except OSError:  # nobody is there
            writer.close()
        finally:
            self._serving.discard(task)

    async def _pass(self, near: Ends) -> None:
        wire = Wire(near, await self.dial(), self.weather)
        self.wires.append(wire)
        self.accepted += 1
        try:
            await wire.run()
        finally:
            self.wires.remove(wire)

    async def end(self) -> None:
        for wire in list(self.wires):
            wire.reset()
        if self._serving:
            await asyncio.wait(set(self._serving), timeout=5)


@asynccontextmanager
async def proxy_to(dial: Dial) -> AsyncGenerator[Proxy]:
    proxy = Proxy(dial)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=CHUNK)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()


def to_port(*ports: int, choose: Callable[[list[int]], int] = lambda ports: ports[0]) -> Dial:
    """Dial one of these ports of loopback; the first, unless the caller chooses."""

    async def dial() -> Ends:
        return await asyncio.open_connection("127.0.0.1", choose(list(ports)), limit=CHUNK)

    return dial


def to_unix(path: str) -> Dial:
    async def dial() -> Ends:
        return await asyncio.open_unix_connection(path, limit=CHUNK)

    return dial

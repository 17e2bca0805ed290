"""A wire between a client and gateways that a test can cut, move, or forbid some paths on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK = 65_536


@dataclass
class Relay:
    """Passes bytes on to `target`, a gateway's address; refuses what begins with `forbidden`."""

    target: str
    forbidden: tuple[bytes, ...] = ()
    address: str = ""
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def cut(self) -> None:
        """End every connection without a word, as a cable does."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.read(CHUNK)
            if any(head.startswith(path) for path in self.forbidden):
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            elif head:
                self.connections += 1
                await self._pass(head, reader, writer)
        writer.close()

    async def _pass(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, port = self.target.removeprefix("http://").split(":")
        there, here = await asyncio.open_connection(host, int(port))
        here.write(head)
        self._open |= {writer, here}
        try:
            await asyncio.wait(
                {
                    asyncio.create_task(_pump(reader, here)),
                    asyncio.create_task(_pump(there, writer)),
                }
            )
        finally:
            self._open -= {writer, here}
            here.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
    sink.close()


@asynccontextmanager
async def relay_to(target: str, *forbidden: str) -> AsyncGenerator[Relay]:
    relay = Relay(target, tuple(f"GET {path}".encode() for path in forbidden))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()

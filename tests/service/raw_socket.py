"""A WebSocket client of bare bytes, which may break every rule of RFC 6455."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG, CONT = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0
PATIENCE_SECONDS = 15.0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """A client's frame; `length` lies about its payload, in eight bytes."""
    first = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    size = len(payload)
    if length is not None:
        head = bytes([mask_bit | 127]) + length.to_bytes(8, "big")
    elif size < 126:
        head = bytes([mask_bit | size])
    elif size < 65_536:
        head = bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return first + head + payload
    mask = os.urandom(4)
    return first + head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


@dataclass(frozen=True, slots=True)
class Received:
    """A frame of the server."""

    opcode: int
    payload: bytes
    rsv: int = 0
    fin: bool = True

    @property
    def code(self) -> int:
        """The code of a close frame; 1005 where there is none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class RawSocket:
    """What is sent goes as it is; what comes is split into frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.headers = b""

    async def send(self, *data: bytes) -> None:
        """Send; what the server no longer takes is not the test's concern."""
        try:
            self.writer.write(b"".join(data))
            await self.writer.drain()
        except ConnectionError:
            pass

    async def next(self) -> Received | None:
        """The next frame; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                first, second = await self.reader.readexactly(2)
                assert not second & 0x80, "a server masks nothing"
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                payload = await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        return Received(first & 0x0F, payload, first >> 4 & 0x7, bool(first & 0x80))

    async def rest(self) -> list[Received]:
        """All frames up to the end of the connection, which must come from the server."""
        found: list[Received] = []
        while (received := await self.next()) is not None:
            found.append(received)
        return found


@asynccontextmanager
async def open_socket(address: str, *headers: str) -> AsyncGenerator[RawSocket]:
    """A socket whose upgrade was answered, whatever the answer."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = (
        f"GET {parts.path or '/'} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    try:
        socket = RawSocket(reader, writer)
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        socket.headers = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        yield socket
    finally:
        writer.transport.abort()

"""A server that does nothing: 200 for each webhook, and its body to each subscriber at once.

    python trivial_server.py PORT

What the generator measures here is the most that it could ever measure.
"""

import asyncio
import re
import sys
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_CONNECTED = b"\x81\x14" + b'{"type":"connected"}'

_sockets: list[asyncio.WriteTransport] = []
_accepted = 0


class _Connection(asyncio.Protocol):
    """Posts, one after the other; or the question how many there were; or a subscriber."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if transport in _sockets:  # its first frame; others need no answer
            transport.write(_CONNECTED)
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        if self._buffer.startswith(b"GET /ws "):
            _sockets.append(transport)
            transport.write(_UPGRADE)
        elif self._buffer.startswith(b"GET "):
            _answer_count(transport)
        else:
            self._accept(transport, end)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport in _sockets:
            _sockets.remove(self._transport)

    def _accept(self, transport: asyncio.WriteTransport, end: int) -> None:
        global _accepted
        length = _LENGTH.search(self._buffer, 0, end)
        whole = end + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return
        payload = b'["message:new",' + self._buffer[end:whole] + b"]"
        self._buffer = b""
        _accepted += 1
        transport.write(_OK)
        frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
        for subscriber in _sockets:
            subscriber.write(frame)


def _answer_count(transport: asyncio.WriteTransport) -> None:
    count = str(_accepted).encode()
    transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(count), count))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

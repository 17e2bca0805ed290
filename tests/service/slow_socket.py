"""A session whose client reads nothing unless it is asked to, and whose kernel keeps little."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from service.harness import Gateway, token
from service.raw_socket import TEXT, RawSocket, frame


async def slow_socket(gateway: Gateway) -> RawSocket:
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
    assert (await next_frame(slow))["type"] == "connected"
    return slow


async def next_frame(slow: RawSocket) -> dict[str, Any]:
    received = await slow.next()
    assert received is not None
    assert received.opcode == TEXT, received
    return json.loads(received.payload)

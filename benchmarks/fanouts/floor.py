"""What uvicorn's own WebSocket needs at the least: one encoded frame written to every transport."""

import asyncio
import json
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatsync.gateway.compression import text_frame

_WRITERS: list[asyncio.Transport] = []


class _Protocol(WebSocketsSansIOProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _WRITERS.append(self.transport)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    await send({"type": "websocket.send", "text": "welcome"})
    await receive()


async def _live(receive: Any, send: Any) -> None:
    await receive()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _publish)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def _publish() -> None:
    line = sys.stdin.readline()
    if not line:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        return
    order = json.loads(line)
    frame = text_frame(json.dumps({"event": "message:new", "text": order["text"]}).encode())
    for _ in range(order["count"]):
        for transport in _WRITERS:
            transport.write(frame)


if __name__ == "__main__":
    uvicorn.run(
        application,
        port=int(sys.argv[1]),
        ws=_Protocol,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_config=None,
    )

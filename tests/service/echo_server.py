"""A server that echoes, on the protocol classes of the gateway: frame rules need no session."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from chatsync.gateway import wire
from chatsync.gateway.compression import ServerFrame
from chatsync.gateway.server import bind, configuration
from chatsync.gateway.wire import Wire
from service.harness import settings_for

FRAME_BYTES = 65_536
FLOOD = b"flooded"


class Echo:
    """Sends each text back; a binary message is answered with a text that says so."""

    is_busy = False

    def __init__(self, below: Wire) -> None:
        self._wire = below

    def received(self, text: str | None) -> None:
        if text is None:
            self._wire.write(b"binary")
        elif text.startswith("shared "):
            shared = ServerFrame(text.encode())
            self._wire.send_raw(shared.compressed if self._wire.is_compressing else shared.plain)
        else:
            self._wire.write(text.encode())

    def flooded(self) -> None:
        self._wire.write(FLOOD)
        self._wire.close(4201, "")

    def drained(self) -> None: ...

    def lost(self) -> None: ...


@asynccontextmanager
async def echo_server(*, frames_per_second: int = 100_000) -> AsyncGenerator[str]:
    """The address of an echo route."""

    async def echo(websocket: WebSocket) -> None:
        below = wire.of(websocket.scope)
        await websocket.accept()
        below.attach(Echo(below), frames_per_second)

    settings = settings_for("unused", frame_bytes=FRAME_BYTES)
    listener = bind(settings)
    application = Starlette(routes=[WebSocketRoute("/", echo)])
    server = uvicorn.Server(configuration(application, settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn tells of it by nothing else
            await asyncio.sleep(0.01)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        async with asyncio.timeout(15):
            await serving

"""A gateway that says what a test wants it to: for what a real one never says, or does not yet."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from virtual_session import Frame, cursor

TIME = "2026-01-01T00:00:00.000Z"
HEARTBEAT = {"intervalMs": 25_000, "timeoutMs": 10_000}


def connected(position: int, **more: Any) -> Frame:
    return {
        "type": "connected",
        "sessionId": "s",
        "tenantId": "t1",
        "userId": "u1",
        "recovered": "reason" not in more,
        "cursor": cursor(position),
        "topics": ["tenant:t1", "user:u1"],
        "heartbeat": HEARTBEAT,
        **more,
    }


def events(begin: int, end: int, *numbers: int) -> Frame:
    found = [
        {"seq": n, "type": "test", "topics": ["tenant:t1"], "data": {}, "timestamp": TIME}
        for n in numbers
    ]
    return {"type": "events", "from": cursor(begin), "to": cursor(end), "events": found}


class Agent:
    """One accepted socket, from the gateway's side."""

    def __init__(self, socket: WebSocket, hello: Frame) -> None:
        self._socket = socket
        self.hello = hello

    async def say(self, *frames: Frame | str) -> None:
        for frame in frames:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            await self._socket.send_text(text)

    async def hears(self, kind: str) -> Frame:
        """The next frame of a type; others are passed over."""
        while True:
            frame = json.loads(await self._socket.receive_text())
            if frame["type"] == kind:
                return frame

    async def close(self, code: int, reason: str = "") -> None:
        await self._socket.close(code, reason)

    async def stay(self) -> None:
        """Until the client leaves."""
        while True:
            await self._socket.receive_text()


Talk = Callable[[Agent], Awaitable[None]]
Answer = Callable[[Request], Awaitable[Response]]


class FakeGateway:
    """Its sockets talk by the next of `talks`; without one, an upgrade is refused by HTTP."""

    def __init__(self) -> None:
        self.address = ""
        self.talks: list[Talk] = []
        self.stream: Answer | None = None
        self.poll: Answer | None = None
        self.post: Answer | None = None
        self.upgrades = 0

    async def serve(self, socket: WebSocket) -> None:
        self.upgrades += 1
        if not self.talks:
            await socket.send_denial_response(Response("no upgrades here", 426))
            return
        talk = self.talks.pop(0)
        await socket.accept("chatsync.v1")
        with suppress(WebSocketDisconnect):
            await talk(Agent(socket, json.loads(await socket.receive_text())))

    async def answer(self, request: Request) -> Response:
        name = {"/api/events/stream": "stream", "/api/events": "poll"}.get(request.url.path, "post")
        wanted: Answer | None = getattr(self, name)
        assert request.headers["authorization"] == "Bearer jwt"
        return Response("nothing here", 404) if wanted is None else await wanted(request)


def stream_of(frames: AsyncIterator[Frame]) -> Response:
    """Server-Sent Events by protocol §5: the type as the name, the cursor as the id."""

    async def lines() -> AsyncIterator[str]:
        async for frame in frames:
            position = frame.get("to", frame.get("cursor"))
            identity = "" if position is None else f"id: {position}\n"
            yield f"{identity}event: {frame['type']}\ndata: {json.dumps(frame)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def polled(begin: int, end: int, *numbers: int) -> Response:
    frame = events(begin, end, *numbers)
    del frame["type"]
    return JSONResponse(frame)


def problem(status: int, code: str, **more: Any) -> Response:
    document = {"type": f"urn:chatsync:{code}", "status": status, "code": code, "detail": "no"}
    return Response(json.dumps(document | more), status, media_type="application/problem+json")


@asynccontextmanager
async def fake_gateway() -> AsyncGenerator[FakeGateway]:
    fake = FakeGateway()
    routes = [
        WebSocketRoute("/ws", fake.serve),
        Route("/{path:path}", fake.answer, methods=["GET", "POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), port=0, log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    # Bound before it serves: a client may connect at once, and waits.
    listener = socket.create_server(("127.0.0.1", 0))
    fake.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield fake
    finally:
        server.should_exit = True
        await serving

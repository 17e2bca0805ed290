"""The driver of a session: moves frames between a socket and the state machine.

One task reads, one writes; both write under a lock, in the order of the effects. A client that does
not read stops its own writer and nobody else's.
"""

import asyncio
import contextlib
import math
import time
import uuid
from typing import assert_never

import structlog
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from chatsync.errors import (
    DatabaseUnavailable,
    RateLimited,
    RequestError,
    TokenExpired,
    Unavailable,
)
from chatsync.events.feed import TenantFeed
from chatsync.gateway import access, auth
from chatsync.gateway.effects import Authorize, Close, Effect, Locate, Open, Refresh, Write
from chatsync.gateway.hub import Transport
from chatsync.gateway.outgoing import State
from chatsync.gateway.pages import deliver_page
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.gateway.shared import Shared
from chatsync.model import Claims, CloseCode, full_topic
from chatsync.telemetry import metrics

SUBPROTOCOL = "chatsync.v1"
# A client that takes no byte for so long has missed its heartbeats, too.
WRITE_TIMEOUT_SECONDS = 60.0
RETRY_SECONDS = 0.5
# How a client may leave: none of them is a fault of ours.
_LEFT = (WebSocketDisconnect, TimeoutError, OSError)

log = structlog.stdlib.get_logger(__name__)


async def serve(websocket: WebSocket, shared: Shared) -> None:
    """Refuse an upgrade before it is accepted, or run its session to the end."""
    refusal = _refusal(websocket, shared.allowed_origins)
    if refusal is not None:
        await websocket.send_denial_response(refusal)
        return
    await Connection(shared, websocket).run()


def _refusal(websocket: WebSocket, allowed_origins: frozenset[str]) -> Response | None:
    """Why an upgrade is refused before it is accepted, if it is."""
    origin = websocket.headers.get("origin")
    if origin is not None and origin not in allowed_origins:
        return Response("this origin is not allowed", 403)
    if auth.has_token_in_url(websocket.scope):
        return Response("a token does not belong in a URL", 400)
    return None


class Connection:
    """One socket and its session."""

    transport: Transport = "websocket"

    def __init__(self, shared: Shared, websocket: WebSocket) -> None:
        self._shared = shared
        self._websocket = websocket
        self._address = websocket.client.host if websocket.client else ""
        self._bearer = auth.bearer(websocket.scope)
        self._session = Session(
            uuid.uuid4().hex,
            shared.limits,
            time.monotonic(),
            has_bearer=self._bearer is not None,
        )
        self._feed: TenantFeed | None = None
        self._claims: Claims | None = None
        self._is_greeted = False
        self._woken = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def session(self) -> Session:
        return self._session

    def wake(self) -> None:
        self._woken.set()

    def drain(self, retry_ms: tuple[int, int]) -> None:
        self._session.close(CloseCode.DRAINING, "the server is restarting", retry_ms)
        self._woken.set()

    async def run(self) -> None:
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in self._websocket.scope["subprotocols"] else None
        await self._websocket.accept(subprotocol)
        self._greet()
        if self._session.state is State.CLOSED:
            await self._flush()
            return
        tasks = {
            asyncio.create_task(self._read_frames()),
            asyncio.create_task(self._write_events()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leave()
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, _LEFT):
                    log.error("session_failed", error=repr(outcome))
                    await self._end(CloseCode.INTERNAL, "something went wrong here")

    async def _end(self, code: CloseCode, reason: str) -> None:
        self._session.close(code, reason)
        with contextlib.suppress(*_LEFT):
            await self._flush()

    def _greet(self) -> None:
        offered = self._websocket.scope["subprotocols"]
        if any(name.startswith("chatsync.") for name in offered) and SUBPROTOCOL not in offered:
            self._session.close(
                CloseCode.VERSION_NOT_SUPPORTED, f"this server speaks {SUBPROTOCOL}"
            )
            return
        try:
            self._shared.hub.greet(self, self._address)
            self._is_greeted = True
        except Unavailable as error:
            self._session.refused(error, CloseCode.OVERLOADED)
        except RateLimited as error:
            self._session.refused(error, CloseCode.RATE_LIMITED)

    def _leave(self) -> None:
        if self._is_greeted:
            self._shared.hub.know(self._address)
        self._shared.hub.leave(self, self._claims)
        if self._feed is not None:
            self._shared.feed.detach(self._feed)

    async def _read_frames(self) -> None:
        while self._session.state is not State.CLOSED:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._session.receive(message.get("text"), time.monotonic())
            await self._flush()
            self._woken.set()

    async def _write_events(self) -> None:
        """Write what the log brings and what the time demands, until the session is closed."""
        while self._session.state is not State.CLOSED:
            deadline = self._session.next_deadline()
            delay = max(0.0, deadline - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if math.isinf(deadline) else delay):
                    await self._woken.wait()
            self._woken.clear()
            self._session.tick(time.monotonic())
            try:
                await self._catch_up()
            except DatabaseUnavailable:
                # The feed polls on; a session that lags reads on when the database is back.
                await asyncio.sleep(RETRY_SECONDS)
                self._woken.set()
            await self._flush()
        await self._flush()

    async def _catch_up(self) -> None:
        session, feed = self._session, self._feed
        while session.state is State.OPEN and feed is not None:
            async with self._writing:
                if not await deliver_page(self._shared.feed, feed, session):
                    return
                await self._carry_out(session.effects())
                session.written(time.monotonic())

    async def _flush(self) -> None:
        async with self._writing:
            while effects := self._session.effects():
                await self._carry_out(effects)

    async def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Write(frame):
                    await self._send(frame)
                case Close(code, reason):
                    metrics.SESSIONS_CLOSED.labels(int(code)).inc()
                    if self._websocket.client_state is WebSocketState.CONNECTED:
                        await self._websocket.close(int(code), reason[:100])
                case Open():
                    await self._open(effect)
                case Authorize(topics):
                    await self._authorize(topics)
                case Refresh(token):
                    await self._refresh(token)
                case Locate():
                    await self._locate(effect)
                case _:
                    assert_never(effect)

    async def _send(self, frame: bytes) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
            await self._websocket.send({"type": "websocket.send", "text": frame.decode()})

    async def _open(self, effect: Open) -> None:
        shared, session = self._shared, self._session
        try:
            claims = await shared.authenticator.claims(effect.token or self._bearer or "")
            wanted = list(dict.fromkeys(full_topic(topic, claims) for topic in effect.topics))
            denied = await access.refused_topics(shared.database, claims, wanted)
            feed = await shared.feed.attach(claims.tenant_id)
            self._feed = feed
            shared.hub.join(self, claims)
            self._claims = claims
            shared.hub.know(self._address)
            self._is_greeted = False
            start = await locate(shared.feed, feed, effect.cursor)
        except DatabaseUnavailable as error:
            unavailable = Unavailable(error.message, retry_after_ms=1000)
            session.refused(unavailable, CloseCode.OVERLOADED)
        except RequestError as error:
            session.refused(error, _close_code(error))
        else:
            metrics.RESUMES.labels(start.reason or "recovered", start.source).inc()
            now = time.monotonic()
            expires_at = auth.ends_at(claims, now)
            session.opened(claims, wanted, denied, start, now, expires_at=expires_at)
            self._woken.set()

    async def _authorize(self, topics: tuple[str, ...]) -> None:
        assert self._claims is not None
        try:
            denied = await access.refused_topics(self._shared.database, self._claims, list(topics))
        except DatabaseUnavailable as error:
            self._session.refused(Unavailable(error.message, retry_after_ms=1000))
        else:
            self._session.authorized(topics, denied)

    async def _refresh(self, token: str) -> None:
        try:
            claims = await self._shared.authenticator.claims(token)
        except RequestError as error:
            self._session.refused(error)
        else:
            expires_at = auth.ends_at(claims, time.monotonic())
            self._session.refreshed(claims, expires_at=expires_at)

    async def _locate(self, effect: Locate) -> None:
        assert self._feed is not None
        try:
            start = await locate(self._shared.feed, self._feed, effect.cursor)
        except DatabaseUnavailable as error:
            self._session.refused(Unavailable(error.message, retry_after_ms=1000))
        else:
            self._session.located(start)


def _close_code(error: RequestError) -> CloseCode:
    match error:
        case TokenExpired():
            return CloseCode.TOKEN_EXPIRED
        case auth.NotYetValid():
            return CloseCode.TOKEN_NOT_YET_VALID
        case RateLimited():
            return CloseCode.TOO_MANY_SESSIONS
        case Unavailable():
            return CloseCode.OVERLOADED
        case _:
            return CloseCode.UNAUTHORIZED

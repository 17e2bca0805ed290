"""GET /api/events/stream: a session as Server-Sent Events.

Its client never speaks: nothing is acknowledged, and what leaves for it counts as its sign of life.
Holds one page at most for a client that does not read: it writes, waits until there is room again,
and only then reads on in the log.
"""

import asyncio
import contextlib
import math
import random
import time
import uuid

import structlog
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from chatsync.errors import DatabaseUnavailable
from chatsync.events.feed import TenantFeed
from chatsync.gateway import auth, tickets
from chatsync.gateway.company import Company
from chatsync.gateway.effects import Close, Write
from chatsync.gateway.http import request as read
from chatsync.gateway.http import server_sent, topics
from chatsync.gateway.http_head import cut
from chatsync.gateway.hub import Transport
from chatsync.gateway.outgoing import State
from chatsync.gateway.pages import deliver_next
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.gateway.shared import Shared
from chatsync.model import Claims, CloseCode, Cursor
from chatsync.telemetry import metrics

# As for a socket: a client that takes no byte for so long is gone.
WRITE_TIMEOUT_SECONDS = 60.0
# What a client has that is being sent away: less than a drain waits, or an expired token may live.
FAREWELL_SECONDS = 2.0
RETRY_SECONDS = 0.5
# Browsers come back by themselves, and are not to come all at once.
RETRY_MS = (1_000, 5_000)
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, no-transform"),
    # nginx would collect events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]

log = structlog.stdlib.get_logger(__name__)


class EventStream:
    """The endpoint /api/events/stream."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def get(self, request: Request) -> "Stream":
        shared = self._shared
        claims = await self._caller(request)
        cursor = _cursor(request)
        wanted, sight = await topics.granted(request, shared.access, claims)
        stream = Stream(shared, claims, wanted, cursor)
        stream.session.sight = sight
        return stream

    async def _caller(self, request: Request) -> Claims:
        ticket = request.query_params.get("ticket")
        if ticket is None or "authorization" in request.headers:
            return await read.caller(request, self._shared.authenticator)
        return await tickets.spend(self._shared.database, ticket)


def _cursor(request: Request) -> Cursor | None:
    # An EventSource that comes back by itself knows better than the URL it was given.
    last = request.headers.get("last-event-id")
    return Cursor.parse(last) if last else read.cursor(request)


class Stream:
    """One stream and its session: an ASGI application for a single request."""

    transport: Transport = "stream"

    def __init__(
        self, shared: Shared, claims: Claims, wanted: list[str], cursor: Cursor | None
    ) -> None:
        now = time.monotonic()
        self._shared = shared
        self._claims = claims
        self._wanted = wanted
        self._cursor = cursor
        self._session = Session(uuid.uuid4().hex, shared.limits, now, has_bearer=True)
        self._company = Company(
            self._session.session_id,
            self.wake,
            presence=shared.presence,
            typing=shared.typing,
            audience=shared.audience,
        )
        self._expires_at = auth.ends_at(claims, now)
        self._retry_ms = RETRY_MS
        self._woken = asyncio.Event()
        self._write_timeout: asyncio.Timeout | None = None

    @property
    def session(self) -> Session:
        return self._session

    def wake(self) -> None:
        self._woken.set()

    @property
    def is_stalled(self) -> bool:
        return self._write_timeout is not None

    def drain(self, retry_ms: tuple[int, int]) -> None:
        self.dismiss(CloseCode.DRAINING, "the server is restarting", retry_ms)

    def dismiss(
        self, code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None
    ) -> None:
        self._retry_ms = retry_ms or self._retry_ms
        self._session.close(code, reason, retry_ms)
        self._woken.set()
        if self._write_timeout is not None and not self._write_timeout.expired():
            soon = asyncio.get_running_loop().time() + FAREWELL_SECONDS
            self._write_timeout.reschedule(soon)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shared = self._shared
        shared.hub.admit(self, self._claims)
        try:
            feed = await shared.feed.attach(self._claims.tenant_id)
            try:
                await self._open(feed)
                await self._run(feed, scope, receive, send)
            finally:
                self._company.leave()
                shared.feed.detach(feed)
        finally:
            shared.hub.leave(self, self._claims)

    async def _open(self, feed: TenantFeed) -> None:
        start = await locate(self._shared.feed, feed, self._cursor)
        metrics.RESUMES.labels(start.reason or "recovered", start.source).inc()
        now = time.monotonic()
        self._session.opened(
            self._claims, self._wanted, [], start, now, expires_at=self._expires_at
        )
        # What was passed over may hold a change of access that was not asked about.
        self._session.is_in_doubt = start.reason is not None
        self._company.enter(self._claims)

    async def _run(self, feed: TenantFeed, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        leaving = asyncio.create_task(_left(receive))
        writing = asyncio.create_task(self._write_events(feed, send))
        try:
            await asyncio.wait({leaving, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            writing.cancel()
            _, outcome = await asyncio.gather(leaving, writing, return_exceptions=True)
        if isinstance(outcome, Exception) and not await self._has_ended(outcome, send):
            cut(scope)
            await _left(receive)

    async def _has_ended(self, error: Exception, send: Send) -> bool:
        """Say what ended the stream; false when its client takes nothing any more."""
        if isinstance(error, TimeoutError):
            return False
        log.error("stream_failed", error=repr(error))
        self._session.close(CloseCode.INTERNAL, "something went wrong here")
        try:
            await self._end(send)
        except TimeoutError:
            return False
        return True

    async def _write_events(self, feed: TenantFeed, send: Send) -> None:
        """Write what the log brings and what the time demands, until the session is closed."""
        session = self._session
        await self._write(send, server_sent.retry(random.randint(*RETRY_MS)))  # noqa: S311
        while session.state is not State.CLOSED:
            session.tick(time.monotonic())
            is_behind = session.state is State.OPEN and await self._read_on(feed)
            # What may not be heard any longer is let go before anybody is heard.
            self._company.hold(session.topics)
            session.whisper(self._company.take())
            await self._flush(send)
            session.heartbeat.answer(None, time.monotonic())
            if not is_behind:
                await self._sleep()
        await self._end(send)

    async def _end(self, send: Send) -> None:
        await self._flush(send)
        async with asyncio.timeout(FAREWELL_SECONDS):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _sleep(self) -> None:
        deadline = self._session.next_deadline()
        delay = None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._woken.wait()
        self._woken.clear()

    async def _read_on(self, feed: TenantFeed) -> bool:
        """Whether there may be more to read."""
        try:
            return await deliver_next(self._shared.feed, feed, self._session, self._shared.access)
        except DatabaseUnavailable:
            # The feed polls on; a session that lags reads on when the database is back.
            await asyncio.sleep(RETRY_SECONDS)
            return True

    async def _flush(self, send: Send) -> None:
        for effect in self._session.effects():
            match effect:
                case Write(frame):
                    await self._write(send, server_sent.encode(frame))
                case Close(code):
                    metrics.SESSIONS_CLOSED.labels("server", int(code)).inc()
                    await self._write(send, server_sent.retry(random.randint(*self._retry_ms)))  # noqa: S311
                case _:
                    raise AssertionError(f"a stream was asked for {effect}")

    async def _write(self, send: Send, text: bytes) -> None:
        message: Message = {"type": "http.response.body", "body": text, "more_body": True}
        try:
            async with asyncio.timeout(self._patience()) as self._write_timeout:
                await send(message)
                # uvicorn waits for room before it writes and not after: nothing more is read
                # from the log until it would write again.
                await send(message | {"body": b""})
        finally:
            self._write_timeout = None

    def _patience(self) -> float:
        """How long a write may take: a stalled reader must not outlive its token."""
        if self._session.state is State.CLOSED:
            return FAREWELL_SECONDS
        left = self._expires_at - time.monotonic()
        return min(WRITE_TIMEOUT_SECONDS, max(0.0, left) + FAREWELL_SECONDS)


async def _left(receive: Receive) -> None:
    """Until the client is gone; whatever it sends besides is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass

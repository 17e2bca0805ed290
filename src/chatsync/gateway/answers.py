"""What a session asks of the rest of the gateway, and how it is answered: the awaits of a session.

One question at a time, in a task that lives no longer than its answer.
"""

import time
from collections.abc import Sequence
from typing import assert_never

from chatsync.errors import (
    DatabaseUnavailable,
    RateLimited,
    RequestError,
    TokenExpired,
    Unavailable,
)
from chatsync.events.feed import EpochChanged, TenantFeed, Trimmed
from chatsync.gateway import access, auth
from chatsync.gateway.effects import Authorize, Locate, Open, Refresh
from chatsync.gateway.hub import Member
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.gateway.shared import Shared
from chatsync.model import Claims, CloseCode, Event, full_topic
from chatsync.telemetry import metrics

PAGE_EVENTS = 100
# With PAGE_EVENTS what one session may hold in memory for a client that does not read.
PAGE_BYTES = 65_536

# Frames of a tenant that are kept until its next event: many may catch up from many positions.
KEPT_FRAMES = 64

Question = Open | Authorize | Refresh | Locate


def page(found: Sequence[Event]) -> Sequence[Event]:
    """As many of the events as one frame may hold, and at least one."""
    size = 0
    for index, event in enumerate(found):
        size += len(event.encoded)
        if index and (size > PAGE_BYTES or index == PAGE_EVENTS):
            return found[:index]
    return found


class Answers(Member):
    """The questions of one session."""

    __slots__ = ("_address", "_bearer", "_claims", "_feed", "_is_greeted", "_session", "_shared")

    def __init__(self, shared: Shared, session: Session, address: str, bearer: str | None) -> None:
        self._shared = shared
        self._session = session
        self._address = address
        self._bearer = bearer
        self._feed: TenantFeed | None = None
        self._claims: Claims | None = None
        self._is_greeted = False

    def deliver(self, feed: TenantFeed, found: Sequence[Event]) -> None:
        """Give the session the next events of its log."""
        session, reading = self._session, self._session.reading
        if len(feed.frames) > KEPT_FRAMES:
            feed.frames.clear()
        before = reading.events_written
        session.deliver(found, found[-1].seq, feed.frames)
        self._shared.hub.delivered += reading.events_written - before

    async def answer(self, question: Question) -> None:
        match question:
            case Open():
                await self._open(question)
            case Authorize(topics):
                await self._authorize(topics)
            case Refresh(token):
                await self._refresh(token)
            case Locate():
                await self._locate(question)
            case _:
                assert_never(question)

    async def read_page(self, feed: TenantFeed) -> None:
        """Deliver what has left the ring. Raises DatabaseUnavailable."""
        session = self._session
        position = session.reading.position
        try:
            found = await self._shared.feed.page(feed, position, PAGE_EVENTS)
        except (Trimmed, EpochChanged):
            await self._shared.feed.refresh(feed)
            start = await locate(self._shared.feed, feed, session.reading.cursor)
            if start.reason is not None:
                session.reset(start)
            return
        # A sync or a redelivery may have moved the position while the log was read.
        if found and session.reading.position == position:
            self.deliver(feed, page(found))

    async def begin_anew(self, feed: TenantFeed) -> None:
        """Find the place in a log that began another life. Raises DatabaseUnavailable."""
        self._session.reset(await locate(self._shared.feed, feed, self._session.reading.cursor))

    def leave(self) -> None:
        if self._is_greeted:
            self._shared.hub.know(self._address)
        self._shared.hub.leave(self, self._claims)
        if self._feed is not None:
            self._shared.feed.detach(self._feed)

    async def _open(self, question: Open) -> None:
        shared, session = self._shared, self._session
        try:
            claims = await shared.authenticator.claims(question.token or self._bearer or "")
            wanted = list(dict.fromkeys(full_topic(topic, claims) for topic in question.topics))
            denied = await access.refused_topics(shared.database, claims, wanted)
            feed = await shared.feed.attach(claims.tenant_id)
            self._feed = feed
            shared.hub.join(self, claims)
            self._claims = claims
            shared.hub.know(self._address)
            self._is_greeted = False
            start = await locate(shared.feed, feed, question.cursor)
        except DatabaseUnavailable as error:
            unavailable = Unavailable(error.message, retry_after_ms=1000)
            session.refused(unavailable, CloseCode.OVERLOADED)
        except RequestError as error:
            session.refused(error, _close_code(error))
        else:
            metrics.RESUMES.labels(start.reason or "recovered").inc()
            now = time.monotonic()
            session.opened(claims, wanted, denied, start, now, expires_at=_on_clock(claims, now))
        self._bearer = None

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
            self._session.refreshed(claims, expires_at=_on_clock(claims, time.monotonic()))

    async def _locate(self, question: Locate) -> None:
        assert self._feed is not None
        try:
            start = await locate(self._shared.feed, self._feed, question.cursor)
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


def _on_clock(claims: Claims, now: float) -> float:
    return now + claims.expires_at - time.time()

"""What a session asks of the rest of the gateway, and how it is answered: the awaits of a session.

One question at a time, in a task that lives no longer than its answer.
"""

import time
from collections.abc import Sequence
from typing import assert_never

from chatsync.errors import DatabaseUnavailable, RequestError, Unavailable
from chatsync.events.feed import TenantFeed
from chatsync.gateway import auth, opening, pages, standing
from chatsync.gateway.company import Company
from chatsync.gateway.devices import Held
from chatsync.gateway.effects import Authorize, Locate, Open, Refresh, SetStatus, SetTyping
from chatsync.gateway.hub import Member
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.gateway.shared import Shared
from chatsync.model import Claims, CloseCode, Event, full_topics
from chatsync.telemetry import metrics

Question = Open | Authorize | Refresh | Locate | SetStatus | SetTyping


class Answers(Member):
    """The questions of one session."""

    __slots__ = (
        "_address",
        "_bearer",
        "_claims",
        "_company",
        "_feed",
        "_held",
        "_is_greeted",
        "_session",
        "_shared",
    )

    def __init__(self, shared: Shared, session: Session, address: str, bearer: str | None) -> None:
        self._shared = shared
        self._session = session
        self._address = address
        self._bearer = bearer
        self._feed: TenantFeed | None = None
        self._claims: Claims | None = None
        self._held: Held | None = None
        self._company = Company(
            session.session_id,
            self.hear,
            presence=shared.presence,
            typing=shared.typing,
            audience=shared.audience,
        )
        self._is_greeted = False

    @property
    def session(self) -> Session:
        return self._session

    def hear(self) -> None:
        """Write what others do at this moment."""
        raise NotImplementedError

    def take_over(self) -> None:
        """End: the device has another session now."""
        raise NotImplementedError

    def deliver(self, feed: TenantFeed, found: Sequence[Event]) -> None:
        """Give the session the next events of its log and write them."""
        raise NotImplementedError

    def give(self, feed: TenantFeed, found: Sequence[Event]) -> None:
        """Give the session the next events of its log."""
        self._shared.hub.delivered += pages.give(feed, self._session, found)

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
            case SetStatus() | SetTyping():
                await self._company.carry_out(question, self._session, self._shared.access)
            case _:
                assert_never(question)

    async def read_page(self, feed: TenantFeed) -> None:
        """Deliver what has left the ring. Raises DatabaseUnavailable."""
        shared = self._shared
        found = await pages.read(
            shared.feed, feed, self._session, shared.access, pages.SOCKET_BYTES
        )
        if found:
            self.deliver(feed, found)

    async def look_and_deliver(self, feed: TenantFeed, found: Sequence[Event]) -> None:
        """Deliver what comes next when it is known who may see it. Raises DatabaseUnavailable."""
        session = self._session
        assert session.claims is not None
        place = session.reading.cursor
        await session.sight.look(self._shared.access, session.claims, found)
        # A redelivery or another life of the log may have moved it meanwhile.
        if session.reading.cursor == place and feed.epoch == place.epoch:
            self.deliver(feed, found)

    async def ask_again(self, feed: TenantFeed) -> None:
        """Judge anew what the session may hear. Raises DatabaseUnavailable."""
        await standing.ask_again(self._session, self._shared.access, feed)
        self._company.forget()

    async def begin_anew(self, feed: TenantFeed) -> None:
        """Find the place in a log that began another life. Raises DatabaseUnavailable."""
        await pages.begin_anew(self._shared.feed, feed, self._session)

    def leave(self) -> None:
        if self._is_greeted:
            self._shared.hub.know(self._address)
        self._company.leave()
        self._shared.hub.leave(self, self._claims)
        self._session.reading.deliveries.end()
        if self._held is not None:
            self._shared.devices.leave(self._held)
        if self._feed is not None:
            self._shared.feed.detach(self._feed)

    async def _open(self, question: Open) -> None:
        shared, session = self._shared, self._session
        try:
            claims = await shared.authenticator.claims(question.token or self._bearer or "")
            wanted = full_topics(question.topics, claims)
            feed = self._feed = await shared.feed.attach(claims.tenant_id)
            asked_at = feed.cursor
            judged = await shared.access.judge(claims, wanted)
            session.sight.begin(is_limited=not judged.sees_all)
            shared.hub.join(self, claims)
            self._claims = claims
            shared.hub.know(self._address)
            self._is_greeted = False
            if question.device is not None:
                self._held = Held(
                    claims, question.device, session.session_id, session.receipt, self
                )
            start = await opening.start(shared, feed, question, wanted, self._held)
        except DatabaseUnavailable as error:
            unavailable = Unavailable(error.message, retry_after_ms=1000)
            session.refused(unavailable, CloseCode.OVERLOADED)
        except RequestError as error:
            session.refused(error, opening.close_code(error))
        else:
            metrics.RESUMES.labels(start.reason or "recovered", start.source).inc()
            now = time.monotonic()
            ends_at = auth.ends_at(claims, now)
            session.opened(claims, wanted, judged.denied, start, now, expires_at=ends_at)
            session.is_in_doubt = standing.is_overtaken(asked_at, start)
            self._company.enter(claims)
        self._bearer = None

    async def _authorize(self, topics: tuple[str, ...]) -> None:
        # A refreshed token may say another role than the first one.
        claims = self._session.claims
        assert claims is not None
        try:
            denied = await self._shared.access.refused_topics(claims, list(topics))
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
            self._session.refreshed(claims, expires_at=auth.ends_at(claims, time.monotonic()))

    async def _locate(self, question: Locate) -> None:
        assert self._feed is not None
        try:
            start = await locate(self._shared.feed, self._feed, question.cursor)
        except DatabaseUnavailable as error:
            self._session.refused(Unavailable(error.message, retry_after_ms=1000))
        else:
            self._session.located(start)

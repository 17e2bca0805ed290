"""GET /api/events: the log by long-poll, with the cursor and the rules of a session."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from chatsync.errors import ResetRequired
from chatsync.events.feed import EpochChanged, Feed, TenantFeed, Trimmed
from chatsync.gateway import standing
from chatsync.gateway.access import Access
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.gateway.http import topics
from chatsync.gateway.http.conversations import json_response
from chatsync.gateway.hub import Hub
from chatsync.gateway.pages import PAGE_EVENTS, STREAM_BYTES, cut
from chatsync.gateway.resume import locate
from chatsync.gateway.sight import Sight
from chatsync.model import Claims, Cursor, Event

MAX_WAIT_SECONDS = 25


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks for which topics."""

    claims: Claims
    topics: frozenset[str]
    sight: Sight


class _Waiter:
    """A poll that sleeps until its tenant's log grows."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()


class Events:
    """The endpoint /api/events."""

    def __init__(self, access: Access, authenticator: Authenticator, feed: Feed, hub: Hub) -> None:
        self._access = access
        self._authenticator = authenticator
        self._feed = feed
        self._hub = hub

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        cursor = read.cursor(request)
        wait = read.integer(
            request, "wait", default=MAX_WAIT_SECONDS, least=0, most=MAX_WAIT_SECONDS
        )
        granted, sight = await topics.granted(request, self._access, claims)
        caller = _Caller(claims, frozenset(granted), sight)
        tenant = await self._feed.attach(claims.tenant_id)
        try:
            if cursor is None:
                return _answer(tenant.cursor, tenant.cursor, [])
            return await self._poll(tenant, cursor, caller, time.monotonic() + wait)
        finally:
            self._feed.detach(tenant)

    async def _poll(
        self, tenant: TenantFeed, cursor: Cursor, caller: _Caller, deadline: float
    ) -> Response:
        waiter = _Waiter()
        self._hub.watch(waiter, tenant.tenant_id)
        try:
            position = cursor
            while True:
                waiter.woken.clear()
                position, found = await self._read(tenant, position, caller)
                remaining = deadline - time.monotonic()
                if found or remaining <= 0 or self._hub.is_draining:
                    return _answer(cursor, position, found)
                try:
                    async with asyncio.timeout(remaining):
                        await waiter.woken.wait()
                except TimeoutError:
                    pass
        finally:
            self._hub.unwatch(waiter, tenant.tenant_id)

    async def _read(
        self, tenant: TenantFeed, cursor: Cursor, caller: _Caller
    ) -> tuple[Cursor, list[Event]]:
        """Look through the log from a cursor until something is found or the head is reached."""
        start = await locate(self._feed, tenant, cursor)
        if start.reason is not None:
            raise ResetRequired("take a snapshot", data={"reason": start.reason})
        position = start.position
        while position < tenant.head:
            found = await self._page(tenant, Cursor(start.epoch, position))
            page = cut(found, STREAM_BYTES)
            if not page:
                break
            found = await self._heard(page, caller)
            position = page[-1].seq
            if found:
                return Cursor(start.epoch, position), found
        return Cursor(start.epoch, position), []

    async def _page(self, tenant: TenantFeed, after: Cursor) -> Sequence[Event]:
        """The next events of the same life of the log, which may have ended at any wait."""
        try:
            if tenant.epoch != after.epoch:
                raise EpochChanged
            return await self._feed.page(tenant, after.seq, PAGE_EVENTS)
        except (Trimmed, EpochChanged) as error:
            reason = "trimmed" if isinstance(error, Trimmed) else "epoch"
            raise ResetRequired("take a snapshot", data={"reason": reason}) from error

    async def _heard(self, page: Sequence[Event], caller: _Caller) -> list[Event]:
        """What the caller may hear of a page, and wants to."""
        if any(standing.says_so(event, caller.claims) for event in page):
            judged = await self._access.judge(caller.claims, sorted(caller.topics))
            if judged.denied:
                raise ResetRequired("topics were taken away", data={"reason": "access"})
            caller.sight.begin(is_limited=not judged.sees_all)
        found = [event for event in page if not caller.topics.isdisjoint(event.topics)]
        await caller.sight.look(self._access, caller.claims, found)
        return list(caller.sight.visible(found))


def _answer(after: Cursor, to: Cursor, found: list[Event]) -> Response:
    events = b",".join(event.encoded for event in found).decode()
    return json_response(f'{{"from":"{after}","to":"{to}","events":[{events}]}}')

"""Numbers committed events and rings: after commits that published, and at every poll.

Any process may stamp; the lock in stamp() lets one do it at a time.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import psycopg
import structlog

from chatsync.database import Database, Row
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.duty import Duty
from chatsync.events.hint import Hint
from chatsync.events.stamped import Stamped, decode
from chatsync.quick import QuickConnection
from chatsync.telemetry import metrics

BATCH = 2000
# How long to leave an event to whoever holds the lock before looking again.
CONTENDED_SECONDS = 0.002

# A stamp takes milliseconds, behind another one 5 s at most; repeating it is harmless.
ANSWER_SECONDS = 6.0

log = structlog.stdlib.get_logger(__name__)


class Follower(Protocol):
    """Who reads what is stamped, in the same process."""

    @property
    def followed(self) -> str | None:
        """Whose events to bring along, by their ids with commas."""
        ...

    def take(self, events: Mapping[str, list[Row]]) -> None:
        """Take new events, which are in the log and durable; none is taken twice."""
        ...


class Stamper:
    """`run` it as a task; `poke` it after a commit that published."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        *,
        poll_seconds: float,
        follower: Follower | None = None,
    ) -> None:
        self._link = database.link(ANSWER_SECONDS)
        self._follower = follower
        self._duty = Duty()
        self._doorbell = doorbell
        self._poll_seconds = poll_seconds
        self._poked = asyncio.Event()
        doorbell.subscribe(self._hear)

    @property
    def name(self) -> str:
        """Who rings, for a call that stamps by itself."""
        return self._doorbell.name

    def poke(self) -> None:
        self._poked.set()

    def note(self, stamped: Stamped) -> None:
        """Go on after a call that stamped and rang by itself."""
        if stamped.tenants:
            metrics.STAMPS.inc()
            if self._follower is not None and stamped.events:
                self._follower.take(stamped.events)
            # Who was given the events need not look for them.
            if others := stamped.tenants - stamped.events.keys():
                self._doorbell.hear(Hint(tenants=others))
        if stamped.is_left:
            self._poked.set()

    async def run(self) -> None:
        try:
            while True:
                await self._wait()
                try:
                    if await self._stamp():
                        await asyncio.sleep(CONTENDED_SECONDS)
                        self._poked.set()
                except (DatabaseUnavailable, psycopg.Error) as error:
                    log.warning("stamping_failed", error=repr(error))
                    # While the connection lives, foreign writers rely on who is on duty.
                    self._duty.end()
                    await self._link.close()
        finally:
            self._duty.end()
            await self._link.close()

    async def _stamp(self) -> bool:
        """Whether there is anything left to come again for."""
        async with self._link.connection() as connection:
            if self._follower is None:
                stamped = await self._stamp_for_others(connection)
            else:
                stamped = await self._stamp_for(self._follower, connection)
            self.note(stamped)
            if self._follower is not None and await self._duty.review(
                connection, found=bool(stamped.tenants), is_pressed=self._poked.is_set()
            ):
                self._poked.set()
        return stamped.is_left and not stamped.tenants

    async def _stamp_for(self, follower: Follower, connection: QuickConnection) -> Stamped:
        """Number what is committed. Others are told later: NOTIFY may wait for those who write."""
        if self._duty.is_on:
            # Whatever is left is found by the next look, which comes soon.
            query = "select p_heads, p_heads is null, p_events from chatsync.stamp_for($1, $2)"
        else:
            query = "call chatsync.stamp_and_follow($1, null, $2)"
        row = await connection.ask(query, str(BATCH), follower.followed)
        assert row is not None
        tenants, is_left, events = row
        stamped = Stamped(frozenset(tenants or ()), is_left, decode(events))
        if stamped.tenants:
            self._doorbell.tell_others(Hint(tenants=stamped.tenants))
        return stamped

    async def _stamp_for_others(self, connection: QuickConnection) -> Stamped:
        row = await connection.ask(
            "call chatsync.stamp_and_ring($1, $2)", str(BATCH), self._doorbell.name
        )
        assert row is not None
        tenants, is_left = row
        return Stamped(frozenset(tenants or ()), is_left)

    async def _wait(self) -> None:
        """Until somebody pokes, or it is time to look."""
        if self._poked.is_set():
            self._poked.clear()
            return
        try:
            async with asyncio.timeout(self._duty.wait_seconds(self._poll_seconds)):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()

    def _hear(self, hint: Hint) -> None:
        # Only a foreign writer's bell is about the outbox; ours stamp for themselves.
        if hint.outbox or hint.is_everything:
            self._poked.set()

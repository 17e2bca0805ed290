"""Numbers committed events: calls stamp() after commits and at every poll, then rings.

Any process may stamp; the lock in stamp() lets one do it at a time.
"""

import asyncio

import psycopg
import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.telemetry import metrics

BATCH = 2000
# After a stamp the outbox is looked at once more, without the lock. A stamp that follows soon looks
# as well, so that under load the look costs nothing.
LOOK_SECONDS = 0.01
# How long to leave an event to whoever holds the lock before looking again.
CONTENDED_SECONDS = 0.002

log = structlog.stdlib.get_logger(__name__)


class Stamper:
    """`run` it as a task; `poke` it after a commit that published."""

    def __init__(self, database: Database, doorbell: Doorbell, *, poll_seconds: float) -> None:
        self._database = database
        self._doorbell = doorbell
        self._poll_seconds = poll_seconds
        self._poked = asyncio.Event()
        doorbell.subscribe(self._hear)

    def poke(self) -> None:
        self._poked.set()

    async def run(self) -> None:
        owes_look = True
        while True:
            is_poked = await self._wait(LOOK_SECONDS if owes_look else self._poll_seconds)
            try:
                if is_poked:
                    await self._stamp()
                else:
                    await self.stamp_all()
                owes_look = is_poked
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.warning("stamping_failed", error=repr(error))

    async def stamp_all(self) -> None:
        """Stamp until nothing waits. The look without the lock is what leaves no event behind."""
        while await self._database.fetch_value("select chatsync.outbox_waiting()"):
            await self._stamp()

    async def _stamp(self) -> None:
        heads = await self._database.fetch_value("select chatsync.stamp(%s)", [BATCH])
        if heads is None:
            # Whoever holds the lock may have missed our event: it is ours to come again.
            await asyncio.sleep(CONTENDED_SECONDS)
            self._poked.set()
        elif heads:
            metrics.STAMPS.inc()
            self._doorbell.ring(Hint(tenants=frozenset(heads)))

    async def _wait(self, seconds: float) -> bool:
        """Whether somebody poked within the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
        except TimeoutError:
            return False
        self._poked.clear()
        return True

    def _hear(self, hint: Hint) -> None:
        # Only a foreign writer's bare bell may be about the outbox; ours stamp for themselves.
        if hint.is_everything:
            self._poked.set()

"""Numbers committed events and rings: after commits that published, and at every poll.

Any process may stamp; the lock in stamp() lets one do it at a time.
"""

import asyncio
from dataclasses import dataclass

import psycopg
import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.telemetry import metrics

BATCH = 2000
# How long to leave an event to whoever holds the lock before looking again.
CONTENDED_SECONDS = 0.002

# A stamp takes milliseconds, behind another one 5 s at most; repeating it is harmless.
ANSWER_SECONDS = 6.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stamped:
    """What stamp_and_ring() did: whose logs grew, and whether an event may still be waiting."""

    tenants: frozenset[str]
    is_left: bool


class Stamper:
    """`run` it as a task; `poke` it after a commit that published."""

    def __init__(self, database: Database, doorbell: Doorbell, *, poll_seconds: float) -> None:
        self._link = database.link(ANSWER_SECONDS)
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
            self._doorbell.hear(Hint(tenants=stamped.tenants))
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
        finally:
            await self._link.close()

    async def _stamp(self) -> bool:
        """Whether there is anything left to come again for."""
        async with self._link.connection() as connection:
            cursor = await connection.execute(
                "call chatsync.stamp_and_ring(%s, %s)", [BATCH, self._doorbell.name]
            )
            row = await cursor.fetchone()
        assert row is not None
        stamped = Stamped(frozenset(row[0] or ()), row[1])
        self.note(stamped)
        return stamped.is_left

    async def _wait(self) -> None:
        """Until somebody pokes, or it is time to look."""
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()

    def _hear(self, hint: Hint) -> None:
        # Only a foreign writer's bare bell may be about the outbox; ours stamp for themselves.
        if hint.is_everything:
            self._poked.set()

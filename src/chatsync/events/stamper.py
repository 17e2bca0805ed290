"""Numbers committed events: calls stamp() after commits and at every poll, then rings.

Any process may stamp; the lock in stamp() lets one do it at a time.
"""

import asyncio

import psycopg
import structlog

from chatsync.database import Connection, Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.telemetry import metrics

BATCH = 1000
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
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._poked.wait()
            except TimeoutError:
                pass
            is_poked = self._poked.is_set()
            self._poked.clear()
            try:
                await self.stamp_all(is_expecting=is_poked)
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.warning("stamping_failed", error=repr(error))

    async def stamp_all(self, *, is_expecting: bool = False) -> None:
        """Stamp until nothing waits. The look without the lock is what leaves no event behind.

        One who `is_expecting` events, having just published, stamps before the first look.
        """
        async with self._database.connection() as connection:
            while is_expecting or await _is_waiting(connection):
                is_expecting = False
                cursor = await connection.execute("select chatsync.stamp(%s)", [BATCH])
                heads: dict[str, int] | None = (await cursor.fetchone() or (None,))[0]
                if heads is None:
                    await asyncio.sleep(CONTENDED_SECONDS)
                elif heads:
                    metrics.STAMPS.inc()
                    self._doorbell.ring(Hint(tenants=frozenset(heads)))

    def _hear(self, hint: Hint) -> None:
        # Only a foreign writer's bare bell may be about the outbox; ours stamp for themselves.
        if hint.is_everything:
            self._poked.set()


async def _is_waiting(connection: Connection) -> bool:
    cursor = await connection.execute("select chatsync.outbox_waiting()")
    return (await cursor.fetchone() or (False,))[0] is True

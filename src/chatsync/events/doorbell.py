"""Rings: NOTIFY after commits, in autocommit on a connection of its own, coalesced.

Whoever is in this process hears at once, without PostgreSQL. Must never ring inside a business
transaction: NOTIFY holds a cluster-wide lock until its commit is flushed.
"""

import asyncio
from collections.abc import Callable

import psycopg
import structlog

from chatsync.database import Connection, Role, connect
from chatsync.events.hint import CHANNEL, Hint

# The trailing edge: what comes within it of the last ring leaves together.
COALESCE_SECONDS = 0.005

log = structlog.stdlib.get_logger(__name__)


class Doorbell:
    """Collects hints and rings them out. `run` it as a task."""

    def __init__(self, url: str, role: Role) -> None:
        self._url = url
        self._role: Role = role
        self._connection: Connection | None = None
        self._waiting = Hint()
        self._has_waiting = asyncio.Event()
        self._listeners: list[Callable[[Hint], None]] = []
        self.backend_pid: int | None = None

    def subscribe(self, hear: Callable[[Hint], None]) -> None:
        """Have `hear` called with every hint: of this process and, by a listener, of others."""
        self._listeners.append(hear)

    def ring(self, hint: Hint) -> None:
        """Tell this process now and the others within some milliseconds."""
        self.hear(hint)
        self._waiting |= hint
        self._has_waiting.set()

    def hear(self, hint: Hint) -> None:
        for hear in self._listeners:
            hear(hint)

    async def probe(self, nonce: str) -> None:
        """Ring for a listener's self-test. Raises psycopg.Error when the ringer is broken."""
        await self._notify(Hint(probe=nonce))

    async def run(self) -> None:
        try:
            while True:
                await self._has_waiting.wait()
                self._has_waiting.clear()
                hint, self._waiting = self._waiting, Hint()
                try:
                    await self._notify(hint)
                except (psycopg.Error, OSError, TimeoutError) as error:
                    # Dropped, not kept: polling covers it, and what is waiting is newer.
                    log.warning("ring_failed", error=repr(error))
                    await asyncio.sleep(0.2)
                await asyncio.sleep(COALESCE_SECONDS)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _notify(self, hint: Hint) -> None:
        async with asyncio.timeout(5):
            if self._connection is None or self._connection.closed:
                self._connection = await connect(self._url, self._role, name="chatsync ringer")
                self.backend_pid = self._connection.info.backend_pid
            await self._connection.execute("select pg_notify(%s, %s)", [CHANNEL, hint.encode()])

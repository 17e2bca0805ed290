"""Rings: NOTIFY after commits, in a transaction of its own, coalesced.

Whoever is in this process hears at once, without PostgreSQL. Must never ring inside a business
transaction: NOTIFY holds a cluster-wide lock until its commit is flushed.

A first ring may travel with the call that commits; what follows it soon leaves together, on a
connection of the doorbell's own.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg
import structlog

from chatsync.database import Role, connect
from chatsync.events.hint import CHANNEL, Hint
from chatsync.quick import QuickConnection

# The trailing edge: what comes within it of the last ring leaves together.
COALESCE_SECONDS = 0.005

log = structlog.stdlib.get_logger(__name__)


class Doorbell:
    """Collects hints and rings them out. `run` it as a task."""

    def __init__(self, url: str, role: Role, *, coalesce_seconds: float = COALESCE_SECONDS) -> None:
        self._url = url
        self._coalesce_seconds = coalesce_seconds
        self._role: Role = role
        self._connection: QuickConnection | None = None
        # A probe and a ring may come at once; only one of them makes the connection.
        self._connecting = asyncio.Lock()
        self._waiting = Hint()
        self._has_waiting = asyncio.Event()
        self._listeners: list[Callable[[Hint], None]] = []
        self._rung_at = 0.0
        # Who rings; see Hint.by.
        self.name = uuid.uuid4().hex[:12]

    def subscribe(self, hear: Callable[[Hint], None]) -> None:
        """Have `hear` called with every hint: of this process and, by a listener, of others."""
        self._listeners.append(hear)

    def ring(self, hint: Hint) -> None:
        """Tell this process now and the others within some milliseconds."""
        self.hear(hint)
        self.tell_others(hint)

    def tell_others(self, hint: Hint) -> None:
        """Tell the other processes within some milliseconds."""
        self._waiting |= hint
        self._has_waiting.set()

    def takes_lead(self, still_seconds: float = COALESCE_SECONDS) -> bool:
        """Whether a call that commits now should ring itself; it does so under this `name`.

        So if the bell has been still for so long.
        """
        now = time.monotonic()
        if self._waiting != Hint() or now - self._rung_at < still_seconds:
            return False
        self._rung_at = now
        return True

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
                rest = self._rung_at + self._coalesce_seconds - time.monotonic()
                if rest > 0:
                    await asyncio.sleep(rest)
                self._has_waiting.clear()
                hint, self._waiting = self._waiting, Hint()
                try:
                    await self._notify(replace(hint, by=self.name))
                except (psycopg.Error, OSError, TimeoutError) as error:
                    # Dropped, not kept: polling covers it, and what is waiting is newer.
                    log.warning("ring_failed", error=repr(error))
                    await asyncio.sleep(0.2)
                self._rung_at = time.monotonic()
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def send(self, payloads: Sequence[str]) -> None:
        """Ring all of these in one transaction; nobody here hears them. Raises psycopg.Error."""
        async with asyncio.timeout(5):
            async with self._connecting:
                if self._connection is None or self._connection.closed:
                    self._connection = await connect(self._url, self._role, name="chatsync ringer")
            await self._connection.ask(
                "select pg_notify($1, payload) from json_array_elements_text($2::json) as payload",
                CHANNEL,
                json.dumps(payloads),
            )

    async def _notify(self, hint: Hint) -> None:
        await self.send([hint.encode()])

"""Webhook deliveries into the queue: many at once in one commit, answered after it.

While one group commits, the next one gathers; so a group is as large as the load makes it. An
answer is never given before the commit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg
import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable, Unavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint

INBOUND = "inbound"
GROUP = 200
# Deliveries that wait for a commit; beyond them senders are told to come back.
MAX_WAITING = 5_000

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one webhook brought for one inbox."""

    inbox_id: int
    correlation_id: str
    body: bytes


@dataclass(slots=True)
class _Waiting:
    deliveries: Sequence[Delivery]
    committed: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Intake:
    """Groups deliveries. `run` it as a task."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self._waiting: list[_Waiting] = []
        self._has_waiting = asyncio.Event()

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all of them are committed. Raises Unavailable when they are not."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("too many deliveries at once", retry_after_ms=2000)
        waiting = _Waiting(deliveries)
        self._waiting.append(waiting)
        self._has_waiting.set()
        await waiting.committed

    async def run(self) -> None:
        try:
            while True:
                await self._has_waiting.wait()
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                if not self._waiting:
                    self._has_waiting.clear()
                await self._commit(group)
        finally:
            for waiting in self._waiting:
                _refuse(waiting, Unavailable("the server is restarting", retry_after_ms=1000))

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            await self._insert([d for waiting in group for d in waiting.deliveries])
        except (DatabaseUnavailable, psycopg.Error) as error:
            if len(group) == 1:
                log.warning("intake_failed", error=repr(error))
                _refuse(group[0], Unavailable("the queue does not answer", retry_after_ms=1000))
                return
            # One delivery that fails, or one inbox whose lane is held, must not refuse the others.
            for waiting in group:
                await self._commit([waiting])
        except BaseException:
            for waiting in group:
                _refuse(waiting, Unavailable("the server is restarting", retry_after_ms=1000))
            raise
        else:
            self._doorbell.ring(Hint(queues=frozenset({INBOUND})))
            for waiting in group:
                if not waiting.committed.done():
                    waiting.committed.set_result(None)

    async def _insert(self, deliveries: list[Delivery]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "select chatsync.enqueue_deliveries(%b, %b, %b)",
                [
                    [delivery.inbox_id for delivery in deliveries],
                    [delivery.correlation_id for delivery in deliveries],
                    [delivery.body for delivery in deliveries],
                ],
            )


def _refuse(waiting: _Waiting, error: Unavailable) -> None:
    # A sender that gave up has cancelled its wait.
    if not waiting.committed.done():
        waiting.committed.set_exception(error)

"""Webhook deliveries into the queue: many at once in one commit, answered after it.

While one group commits, the next one gathers; so a group is as large as the load makes it. An
answer is never given before the commit. The deliveries of an inbox are committed in the order of
their arrival.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import PATIENCE_SECONDS, Database
from chatsync.errors import DatabaseUnavailable, QueueFull, Unavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint

INBOUND = "inbound"
GROUP = 200
# Groups that commit at the same time, each of inboxes of its own: while one waits for the disk, the
# other one's rows are written.
LINES = 2
# A queue that is full is counted again after a second; it takes longer to empty.
FULL_RETRY_MS = 5000
# Deliveries that wait for a commit; beyond them senders are told to come back.
MAX_WAITING = 5_000

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one webhook brought for one inbox; `metadata` is what its body does not say."""

    inbox_id: int
    correlation_id: str
    body: bytes
    metadata: Mapping[str, object] | None = None


class Intake:
    """Groups deliveries. `run` it as a task."""

    def __init__(self, database: Database, doorbell: Doorbell, *, max_retries: int = 5) -> None:
        self._lines = [_Line(database, doorbell, max_retries) for _ in range(LINES)]

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Return when all of them are committed. Raises Unavailable when they are not."""
        if sum(len(line.waiting) for line in self._lines) >= MAX_WAITING:
            raise Unavailable("too many deliveries at once", retry_after_ms=2000)
        if len(deliveries) == 1:
            await self._line(deliveries[0]).put(deliveries)
            return
        by_line: dict[_Line, list[Delivery]] = {}
        for delivery in deliveries:
            by_line.setdefault(self._line(delivery), []).append(delivery)
        await asyncio.gather(*(line.put(theirs) for line, theirs in by_line.items()))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for line in self._lines:
                tasks.create_task(line.run())

    def _line(self, delivery: Delivery) -> "_Line":
        return self._lines[delivery.inbox_id % LINES]


@dataclass(slots=True)
class _Waiting:
    deliveries: Sequence[Delivery]
    committed: "asyncio.Future[None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class _Line:
    """Deliveries of some inboxes, committed one group after the other."""

    def __init__(self, database: Database, doorbell: Doorbell, max_retries: int) -> None:
        self.waiting: list[_Waiting] = []
        self._link = database.link(PATIENCE_SECONDS)
        self._doorbell = doorbell
        self._max_retries = max_retries
        self._has_waiting = asyncio.Event()

    def put(self, deliveries: Sequence[Delivery]) -> "asyncio.Future[None]":
        waiting = _Waiting(deliveries)
        self.waiting.append(waiting)
        self._has_waiting.set()
        return waiting.committed

    async def run(self) -> None:
        try:
            while True:
                await self._has_waiting.wait()
                group, self.waiting = self.waiting[:GROUP], self.waiting[GROUP:]
                if not self.waiting:
                    self._has_waiting.clear()
                await self._commit(group)
        finally:
            await self._link.close()
            for waiting in self.waiting:
                _refuse(waiting, Unavailable("the server is restarting", retry_after_ms=1000))

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            await self._insert([d for waiting in group for d in waiting.deliveries])
        except QueueFull as error:
            log.warning("intake_refused", error=error.message, deliveries=len(group))
            for waiting in group:
                _refuse(waiting, Unavailable(error.message, retry_after_ms=FULL_RETRY_MS))
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
            for waiting in group:
                if not waiting.committed.done():
                    waiting.committed.set_result(None)

    async def _insert(self, deliveries: list[Delivery]) -> None:
        rings = self._doorbell.takes_lead()
        async with self._link.connection() as connection:
            await connection.execute(
                "call chatsync.take_deliveries(%b, %b, %b, %b, %s, %s)",
                [
                    [delivery.inbox_id for delivery in deliveries],
                    [delivery.correlation_id for delivery in deliveries],
                    [delivery.body for delivery in deliveries],
                    [Jsonb(delivery.metadata) for delivery in deliveries]
                    if any(delivery.metadata for delivery in deliveries)
                    else None,
                    self._max_retries,
                    self._doorbell.name if rings else None,
                ],
            )
        tell = self._doorbell.hear if rings else self._doorbell.ring
        tell(Hint(queues=frozenset({INBOUND})))


def _refuse(waiting: _Waiting, error: Unavailable) -> None:
    # A sender that gave up has cancelled its wait.
    if not waiting.committed.done():
        waiting.committed.set_exception(error)

"""Messages whose effects are elsewhere: handled one by one, at least once, several at a time.

Messages of a lane are a line: one at a time, in order. What has ended is settled at once, so that a
slow message keeps nobody but its own key waiting.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import psycopg
import structlog

from chatsync.database import Link
from chatsync.errors import DatabaseUnavailable, LeaseLost
from chatsync.events.hint import Hint
from chatsync.queue.handler import bounded, outcome_of
from chatsync.queue.message import (
    Failure,
    Lane,
    QueueMessage,
    Rest,
    pause_for,
    release,
    settle_some,
)
from chatsync.queue.workplace import Workplace
from chatsync.supervision import back_off, end
from chatsync.telemetry import metrics

# So many times its concurrency a worker claims at once: enough to be busy while it claims again,
# and no more, since others could begin what it only holds.
AHEAD = 2
# What is cancelled at the end of the grace time still has to be settled.
SETTLE_SECONDS = 2.0

Handle: TypeAlias = Callable[[QueueMessage], Awaitable[None]]
_Line: TypeAlias = Sequence[QueueMessage]

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Held:
    """A lease: how many of its messages are not settled, and those that have ended meanwhile."""

    queue: str
    lease_id: int
    left: int
    done: list[int] = field(default_factory=list[int])
    failures: list[Failure] = field(default_factory=list[Failure])
    untouched: list[int] = field(default_factory=list[int])
    rests: list[Rest] = field(default_factory=list[Rest])
    has_news: asyncio.Event = field(default_factory=asyncio.Event)

    def put_back(self, messages: Sequence[QueueMessage]) -> None:
        self.untouched += [message.id for message in messages]
        self.has_news.set()


class External:
    """Works off a queue with a handler that is called for each message."""

    # One claims, and what it claimed is worked off beside it.
    consumers = 1

    def __init__(
        self, handle: Handle, workplace: Workplace, *, timeout_seconds: float, concurrency: int
    ) -> None:
        self._handle = handle
        self._workplace = workplace
        self._timeout_seconds = timeout_seconds
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._leases: set[asyncio.Task[None]] = set()
        self._lines: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._is_draining = False

    async def room(self, batch_size: int) -> int:
        """Wait until another line could be begun."""
        while len(self._lines) >= self._concurrency and not self._is_draining:
            self._has_room.clear()
            await self._has_room.wait()
        return min(batch_size, AHEAD * self._concurrency)

    async def process(self, batch: list[QueueMessage], link: Link) -> bool:
        """Begin with a batch, and return while it is worked off; a settlement wakes the queue."""
        held = _Held(batch[0].queue, batch[0].lease_id, len(batch))
        lines = [asyncio.create_task(self._work_off(held, line)) for line in _lines_of(batch)]
        for line in lines:
            self._lines.add(line)
            line.add_done_callback(self._end_line)
        lease = asyncio.create_task(self._see_through(held, lines))
        self._leases.add(lease)
        lease.add_done_callback(self._leases.discard)
        # A task that is cancelled before its first step runs nothing, and would put nothing back.
        await asyncio.sleep(0)
        return False

    async def drain(self, seconds: float) -> None:
        """Put back what was not begun, now, and what is under way when the time is over."""
        self._is_draining = True
        self._has_room.set()
        for line in self._lines - self._busy:
            line.cancel()
        if self._leases:
            await asyncio.wait(self._leases, timeout=seconds)
        for line in self._lines:
            line.cancel()
        if self._leases:
            await asyncio.wait(self._leases, timeout=SETTLE_SECONDS)
        for lease in tuple(self._leases):
            await end(lease)

    async def _see_through(self, held: _Held, lines: Sequence["asyncio.Task[None]"]) -> None:
        """Settle a lease, some messages at a time, until nothing of it is left."""
        began = time.monotonic()
        try:
            while held.left:
                await held.has_news.wait()
                await self._settle(held)
        except LeaseLost:
            log.warning("lease_fenced", queue=held.queue)
        except Exception:  # whatever it is, the worker goes on
            log.exception("settlement_failed", queue=held.queue)
        finally:
            metrics.QUEUE_BATCH_SECONDS.labels(held.queue).observe(time.monotonic() - began)
            if held.left:
                for line in lines:
                    line.cancel()
                await release(self._workplace.database, held.lease_id)

    async def _settle(self, held: _Held) -> None:
        """Settle what has ended so far. Raises LeaseLost."""
        held.has_news.clear()
        done, held.done = held.done, []
        failures, held.failures = held.failures, []
        untouched, held.untouched = held.untouched, []
        rests, held.rests = held.rests, []
        attempts = 0
        while True:
            try:
                async with self._workplace.database.connection() as connection:
                    # Before they are given back, so that nobody begins with them meanwhile.
                    for rest in rests:
                        await pause_for(connection, rest)
                    has_more = await settle_some(
                        connection, held.lease_id, done, failures, untouched
                    )
                break
            except (DatabaseUnavailable, psycopg.OperationalError) as error:
                # What was done outside is done: only the settlement is tried again.
                attempts += 1
                log.warning("settlement_rerun", queue=held.queue, error=repr(error))
                await back_off(attempts)
                await self._workplace.lease.worker_id()
        held.left -= len(done) + len(failures) + len(untouched)
        metrics.QUEUE_SETTLED.labels(held.queue, "done").inc(len(done))
        metrics.QUEUE_SETTLED.labels(held.queue, "failed").inc(len(failures) + len(untouched))
        if has_more or failures:
            self._workplace.doorbell.hear(Hint(queues=frozenset({held.queue})))

    async def _work_off(self, held: _Held, line: _Line) -> None:
        """Handle the messages of a line; one that is tried again keeps the later ones waiting."""
        for position, message in enumerate(line):
            try:
                outcome = await self._attempt(message)
            except asyncio.CancelledError:
                held.put_back(line[position:])
                raise
            except LeaseLost:
                held.put_back(line[position:])
                return
            if isinstance(outcome, Rest):
                held.rests.append(outcome)
                held.put_back(line[position:])
                return
            if outcome is None:
                held.done.append(message.id)
            else:
                held.failures.append(outcome)
            held.has_news.set()
            if outcome is not None and not outcome.is_permanent:
                held.put_back(line[position + 1 :])
                return

    async def _attempt(self, message: QueueMessage) -> Failure | Rest | None:
        """Handle a message when it is its turn. Raises LeaseLost where nothing may be begun."""
        line = asyncio.current_task()
        assert line is not None
        async with self._slots:
            # A process that was stopped for a while must not begin what others have by now.
            if self._is_draining or not self._workplace.lease.holds(message.worker_id):
                raise LeaseLost("nothing may be begun")
            self._busy.add(line)
            try:
                await bounded(self._handle(message), self._timeout_seconds)
            except Exception as error:
                return outcome_of(message, error)
            finally:
                self._busy.discard(line)
        return None

    def _end_line(self, line: "asyncio.Task[None]") -> None:
        self._lines.discard(line)
        self._has_room.set()


def _lines_of(batch: Sequence[QueueMessage]) -> list[list[QueueMessage]]:
    """The messages of each lane, in order; one without a key is a line of its own."""
    lines: dict[Lane | int, list[QueueMessage]] = {}
    for message in batch:
        lines.setdefault(message.id if message.lane is None else message.lane, []).append(message)
    return list(lines.values())

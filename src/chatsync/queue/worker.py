"""Claims and hands on: one loop for all queues, whatever is done with their messages."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

import psycopg
import structlog

from chatsync.database import Link
from chatsync.errors import DatabaseUnavailable
from chatsync.events.hint import Hint
from chatsync.patience import patience
from chatsync.queue.message import QueueMessage, claim
from chatsync.queue.workplace import Workplace
from chatsync.supervision import back_off

# A batch has a price of its own, whatever its size. So where several messages came at once, more
# are let come before the next batch is taken.
GATHER_FROM = 8
GATHER_SECONDS = 0.01
# A due time is exact to some tens of milliseconds.
ASK_SECONDS = 0.02
# Milliseconds, unless an open transaction is in its way: the server gives up after 5 s.
CLAIM_SECONDS = 10.0

log = structlog.stdlib.get_logger(__name__)


class WorkOff(Protocol):
    """What is done with the messages of a queue, from the claim to the settlement."""

    @property
    def consumers(self) -> int:
        """How many claim at the same time."""
        ...

    async def room(self, batch_size: int) -> int:
        """Wait until there is room, and return for how many messages."""
        ...

    async def process(self, batch: list[QueueMessage], link: Link) -> bool:
        """Take a batch over; returns whether more may be waiting. Sees to the settlement."""
        ...

    async def drain(self, seconds: float) -> None:
        """Begin nothing more; return when all is settled or given back, after so long by force."""
        ...


class Worker:
    """Works off its queues. `run` it as a task; `drain` it, then cancel it."""

    def __init__(
        self,
        workplace: Workplace,
        queues: Mapping[str, WorkOff],
        *,
        batch_size: int,
        poll_seconds: float,
    ) -> None:
        self._workplace = workplace
        self._queues = queues
        self._batch_size = batch_size
        self._poll_seconds = poll_seconds
        self._woken = {
            queue: [asyncio.Event() for _ in range(work_off.consumers)]
            for queue, work_off in queues.items()
        }
        self._is_draining = False
        self._has_ended = asyncio.Event()
        workplace.doorbell.subscribe(self._hear)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for queue, work_off in self._queues.items():
                    for woken in self._woken[queue]:
                        tasks.create_task(self._consume(queue, work_off, woken))
        finally:
            self._has_ended.set()
            # What is under way in tasks of its own goes with the loop; drain() leaves it its time.
            for work_off in self._queues.values() if not self._is_draining else ():
                await work_off.drain(0)

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, and wait for what is under way, so long at most."""
        log.info("drain_began")
        self._is_draining = True
        for events in self._woken.values():
            for woken in events:
                woken.set()
        await asyncio.gather(
            is_set_within(self._has_ended, seconds),
            *(work_off.drain(seconds) for work_off in self._queues.values()),
        )

    def _hear(self, hint: Hint) -> None:
        for queue, (first, *_) in self._woken.items():
            if hint.is_everything or queue in hint.queues:
                first.set()

    async def _consume(self, queue: str, work_off: WorkOff, woken: asyncio.Event) -> None:
        link = self._workplace.database.link()
        try:
            while not self._is_draining:
                limit = await work_off.room(self._batch_size)
                worker_id = await self._workplace.lease.worker_id()
                woken.clear()
                try:
                    batch = await self._claim(link, queue, worker_id, limit)
                except DatabaseUnavailable as error:
                    log.warning("claim_failed", queue=queue, error=repr(error.__cause__))
                    await back_off(1)
                    continue
                if not batch:
                    await self._wait(queue, woken)
                    continue
                if len(batch) == limit:
                    self._wake_all(queue)
                has_more = await work_off.process(batch, link)
                if GATHER_FROM <= len(batch) < limit:
                    await asyncio.sleep(GATHER_SECONDS)
                elif not has_more and len(batch) < limit:
                    await self._wait(queue, woken)
        finally:
            await link.close()

    async def _claim(
        self, link: Link, queue: str, worker_id: int, limit: int
    ) -> list[QueueMessage]:
        async with link.connection() as connection:
            try:
                with patience(connection, CLAIM_SECONDS):
                    return await claim(connection, queue, worker_id, limit)
            except psycopg.OperationalError as error:
                if error.sqlstate is None:
                    # No answer: what it may have claimed all the same nobody here knows of.
                    self._workplace.lease.give_up(worker_id)
                raise

    async def _wait(self, queue: str, woken: asyncio.Event) -> None:
        """Sleep until there may be something to claim."""
        if woken.is_set() or self._is_draining:
            return
        # Under load the next message comes before it pays to ask when one is due.
        if await is_set_within(woken, ASK_SECONDS):
            return
        due_at = None
        if woken is self._woken[queue][0]:
            try:
                due_at = await self._workplace.database.fetch_value(
                    "select chatsync.next_ready_at(%s)", [queue], patience_seconds=CLAIM_SECONDS
                )
            except DatabaseUnavailable:
                # The claim that follows says so.
                return
        await is_set_within(woken, self._patience(due_at))

    def _patience(self, due_at: datetime | None) -> float:
        if due_at is None:
            return self._poll_seconds
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        # Two clocks differ: a due time that has passed here may lie ahead in the database.
        return min(self._poll_seconds, max(0.01, seconds))

    def _wake_all(self, queue: str) -> None:
        for woken in self._woken[queue]:
            woken.set()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

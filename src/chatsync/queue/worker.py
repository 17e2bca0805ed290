"""Claims, handles, settles: one loop per queue, effects and settlement in one transaction.

A transaction that fails for reasons of the database is run again as it was, and charges nobody.
A handler's error is charged to its message alone.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from chatsync.database import Database, Link
from chatsync.errors import DatabaseUnavailable, LeaseLost, Retry
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.events.stamper import Stamper
from chatsync.queue.handler import (
    Applied,
    Handler,
    Settlement,
    all_failed,
    apply_each,
    raise_if_not_ours,
)
from chatsync.queue.lease import Lease
from chatsync.queue.message import QueueMessage, claim, settle
from chatsync.supervision import end
from chatsync.telemetry import metrics

MAX_BACKOFF_SECONDS = 2.0
# A batch that met the database's trouble so often counts as failing (architecture §5.1).
MAX_RERUNS = 5

# Batches of a queue under way at once: while one waits for the disk, another one is worked on. The
# second one only wakes when a batch was full, so that a lone message is looked for once.
CONSUMERS = 2
# A batch has a price of its own, whatever its size. So where several messages came at once, more
# are let come before the next batch is taken.
GATHER_FROM = 8
GATHER_SECONDS = 0.01
# A batch is applied in parts, so that one is parsed while PostgreSQL works on another. A large part
# leaves its events to the stamper, which numbers them meanwhile.
PART = 250
STAMP_APART_FROM = 100
# A due time is exact to some tens of milliseconds.
ASK_SECONDS = 0.02

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Work:
    """A batch under a lease, in parts; `prepared` is the first part, or None if it failed."""

    batch: list[QueueMessage]
    parts: list[list[QueueMessage]]
    prepared: object | None
    reruns: int = 0


class Worker:
    """Runs handlers over their queues. `run` it as a task; cancel it to stop."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        handlers: Mapping[str, Handler[Any]],
        *,
        batch_size: int,
        poll_seconds: float,
        stamper: Stamper,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._batch_size = batch_size
        self._poll_seconds = poll_seconds
        self._stamper = stamper
        self._lease = Lease(database.url)
        self._woken = {queue: [asyncio.Event() for _ in range(CONSUMERS)] for queue in handlers}
        doorbell.subscribe(self._hear)

    async def run(self) -> None:
        lease = asyncio.create_task(self._lease.run())
        try:
            async with asyncio.TaskGroup() as tasks:
                for queue, handler in self._handlers.items():
                    for woken in self._woken[queue]:
                        tasks.create_task(self._consume(queue, handler, woken))
        finally:
            await end(lease)

    def _hear(self, hint: Hint) -> None:
        for queue, (first, *_) in self._woken.items():
            if hint.is_everything or queue in hint.queues:
                first.set()

    async def _consume(self, queue: str, handler: Handler[Any], woken: asyncio.Event) -> None:
        link = self._database.link()
        work: _Work | None = None
        try:
            while True:
                worker_id = await self._lease.worker_id()
                try:
                    if work is None:
                        woken.clear()
                        work = self._work_on(handler, await self._claim(link, queue, worker_id))
                    if work is None:
                        await self._wait(queue, woken)
                        continue
                    has_more = await self._process(handler, work, link)
                    size, work = len(work.batch), None
                    if GATHER_FROM <= size < self._batch_size:
                        await asyncio.sleep(GATHER_SECONDS)
                    elif not has_more and size < self._batch_size:
                        await self._wait(queue, woken)
                except LeaseLost:
                    log.warning("lease_fenced", queue=queue)
                    await self._release(work)
                    work = None
                except DatabaseUnavailable as error:
                    if work is not None:
                        work.reruns += 1
                    log.warning("batch_rerun", queue=queue, error=repr(error.__cause__))
                    await _back_off(work.reruns if work else 1)
        finally:
            await link.close()
            await self._release(work)

    async def _claim(self, link: Link, queue: str, worker_id: int) -> list[QueueMessage]:
        async with link.connection() as connection:
            return await claim(connection, queue, worker_id, self._batch_size)

    async def _wait(self, queue: str, woken: asyncio.Event) -> None:
        """Sleep until there may be something to claim."""
        if woken.is_set():
            return
        # Under load the next message comes before it pays to ask when one is due.
        if await _is_set_within(woken, ASK_SECONDS):
            return
        due_at = None
        if woken is self._woken[queue][0]:
            due_at = await self._database.fetch_value("select chatsync.next_ready_at(%s)", [queue])
        await _is_set_within(woken, self._patience(due_at))

    def _patience(self, due_at: datetime | None) -> float:
        if due_at is None:
            return self._poll_seconds
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        # Two clocks differ: a due time that has passed here may lie ahead in the database.
        return min(self._poll_seconds, max(0.01, seconds))

    async def _process(self, handler: Handler[Any], work: _Work, link: Link) -> bool:
        """Handle and settle a batch; returns whether more may be waiting."""
        began = time.monotonic()
        put_aside = 0
        has_more = True
        while work.parts:
            applied = None
            if work.prepared is not None and work.reruns < MAX_RERUNS:
                applied = await self._process_part(handler, work, link)
            if applied is None:
                put_aside = await self._process_carefully(handler, work)
                self._stamper.poke()
                break
            self._stamper.note(applied.stamped)
            has_more = applied.has_more
        queue = work.batch[0].queue
        metrics.QUEUE_BATCH_SECONDS.labels(queue).observe(time.monotonic() - began)
        metrics.QUEUE_SETTLED.labels(queue, "done").inc(len(work.batch) - put_aside)
        metrics.QUEUE_SETTLED.labels(queue, "failed").inc(put_aside)
        return has_more

    async def _process_part(self, handler: Handler[Any], work: _Work, link: Link) -> Applied | None:
        """Handle and settle the first part; None when any of it failed: nothing was done."""
        part, prepared = work.parts[0], work.prepared
        following = work.parts[1] if len(work.parts) > 1 else None
        settlement = Settlement(
            part[0].lease_id,
            [message.id for message in part],
            is_part=following is not None,
            by=self._stamper.name if len(part) < STAMP_APART_FROM else None,
        )
        next_prepared: list[object | None] = []
        if following is not None:
            # As soon as the call waits for PostgreSQL.
            asyncio.get_running_loop().call_soon(
                lambda: next_prepared.append(_prepared(handler, following))
            )
        async with link.connection() as connection:
            try:
                applied = await handler.apply_and_settle(connection, prepared, settlement)
            except Exception as error:
                raise_if_not_ours(error)
                log.info("batch_failed", messages=len(part), error=repr(error))
                return None
        work.parts.pop(0)
        work.prepared = next_prepared[0] if next_prepared else None
        work.reruns = 0
        return applied

    async def _process_carefully(self, handler: Handler[Any], work: _Work) -> int:
        """Find out which fail, and settle each as it deserves; returns how many were put aside."""
        rest = [message for part in work.parts for message in part]
        async with self._database.transaction() as connection:
            if work.reruns >= MAX_RERUNS:
                failures, untouched = all_failed(rest, Retry("the database gave up on this batch"))
            else:
                failures, untouched = await apply_each(connection, handler, rest)
            await settle(connection, rest, failures, untouched)
        return len(failures) + len(untouched)

    def _work_on(self, handler: Handler[Any], batch: list[QueueMessage]) -> _Work | None:
        if not batch:
            return None
        if len(batch) == self._batch_size:
            for woken in self._woken[batch[0].queue]:
                woken.set()
        parts = [batch[start : start + PART] for start in range(0, len(batch), PART)]
        return _Work(batch, parts, _prepared(handler, parts[0]))

    async def _release(self, work: _Work | None) -> None:
        if work is None:
            return
        try:
            async with self._database.connection() as connection:
                await connection.execute("select chatsync.release(%s)", [work.batch[0].lease_id])
        except (DatabaseUnavailable, psycopg.Error) as error:
            # The lease runs out by itself.
            log.warning("release_failed", error=repr(error))


def _prepared(handler: Handler[Any], part: list[QueueMessage]) -> object | None:
    try:
        return handler.prepare(part)
    except Exception as error:
        # Whatever it is, it is the fault of one of them.
        log.info("batch_unprepared", messages=len(part), error=repr(error))
        return None


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _back_off(attempt: int) -> None:
    delay = min(MAX_BACKOFF_SECONDS, 0.05 * 2**attempt)
    await asyncio.sleep(random.uniform(0, delay))  # noqa: S311 - jitter, not a secret

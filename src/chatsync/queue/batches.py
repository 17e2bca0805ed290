"""Batches whose effects are in this database: applied and settled in one transaction.

A transaction that fails for reasons of the database is run again as it was, and charges nobody.
A handler's error is charged to its message alone.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog

from chatsync.database import PATIENCE_SECONDS, Link
from chatsync.errors import DatabaseUnavailable, LeaseLost, Retry
from chatsync.patience import patience
from chatsync.queue.handler import (
    Applied,
    Handler,
    PutAside,
    Settlement,
    apply_in_halves,
    fail_all,
    raise_if_not_ours,
)
from chatsync.queue.message import QueueMessage, pause_for, release, settle
from chatsync.queue.workplace import Workplace
from chatsync.supervision import back_off
from chatsync.telemetry import metrics

# A batch that met the database's trouble so often counts as failing (architecture §5.1).
MAX_RERUNS = 5
# A large part leaves its events to the stamper, which numbers them meanwhile.
STAMP_APART_FROM = 100
# Of a careful run: many statements and calls of a handler, each with its own limit.
CAREFUL_SECONDS = 3600.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Work:
    """A batch under a lease, in parts; `prepared` is the first part, or None if it failed."""

    batch: list[QueueMessage]
    parts: list[list[QueueMessage]]
    prepared: object | None
    reruns: int = 0


class Batches:
    """Works off a queue with a transactional handler."""

    def __init__(
        self, handler: Handler[Any], workplace: Workplace, *, timeout_seconds: float = 0.0
    ) -> None:
        self._handler = handler
        self._workplace = workplace
        self._patience_seconds = timeout_seconds + PATIENCE_SECONDS

    @property
    def consumers(self) -> int:
        """While one batch waits for the disk, another one is worked on.

        Those after the first only wake when a batch was full, so that a lone message is looked for
        once.
        """
        return self._handler.batches

    async def room(self, batch_size: int) -> int:
        return batch_size

    async def process(self, batch: list[QueueMessage], link: Link) -> bool:
        """Handle and settle a batch; returns whether more may be waiting."""
        part = self._handler.part
        parts = [batch[start : start + part] for start in range(0, len(batch), part)]
        work = _Work(batch, parts, self._prepared(parts[0]))
        is_settled = False
        try:
            while True:
                try:
                    has_more = await self._run(work, link)
                except DatabaseUnavailable as error:
                    work.reruns += 1
                    log.warning("batch_rerun", queue=batch[0].queue, error=repr(error.__cause__))
                    await back_off(work.reruns)
                    # While nobody answers, tries are not counted.
                    await self._workplace.lease.worker_id()
                else:
                    is_settled = True
                    return has_more
        except LeaseLost:
            log.warning("lease_fenced", queue=batch[0].queue)
            return True
        finally:
            if not is_settled:
                await release(self._workplace.database, batch[0].lease_id)

    async def drain(self, seconds: float) -> None:
        """Nothing outlives process()."""

    async def _run(self, work: _Work, link: Link) -> bool:
        began = time.monotonic()
        put_aside = 0
        has_more = True
        while work.parts:
            applied = None
            if work.prepared is not None and work.reruns < MAX_RERUNS:
                applied = await self._run_part(work, link)
            if applied is None:
                put_aside = await self._run_carefully(work)
                self._workplace.stamper.poke()
                break
            self._workplace.stamper.note(applied.stamped)
            has_more = applied.has_more
        queue = work.batch[0].queue
        metrics.QUEUE_BATCH_SECONDS.labels(queue).observe(time.monotonic() - began)
        metrics.QUEUE_SETTLED.labels(queue, "done").inc(len(work.batch) - put_aside)
        metrics.QUEUE_SETTLED.labels(queue, "failed").inc(put_aside)
        return has_more

    async def _run_part(self, work: _Work, link: Link) -> Applied | None:
        """Handle and settle the first part; None when any of it failed: nothing was done."""
        part, prepared = work.parts[0], work.prepared
        following = work.parts[1] if len(work.parts) > 1 else None
        settlement = Settlement(
            part[0].lease_id,
            [message.id for message in part],
            is_part=following is not None,
            by=self._workplace.stamper.name if len(part) < STAMP_APART_FROM else None,
        )
        next_prepared: list[object | None] = []
        if following is not None:
            # As soon as the call waits for PostgreSQL.
            asyncio.get_running_loop().call_soon(
                lambda: next_prepared.append(self._prepared(following))
            )
        async with link.connection() as connection:
            try:
                with patience(connection, self._patience_seconds):
                    applied = await self._handler.apply_and_settle(connection, prepared, settlement)
            except Exception as error:
                raise_if_not_ours(error)
                log.info("batch_failed", messages=len(part), error=repr(error))
                return None
        work.parts.pop(0)
        work.prepared = next_prepared[0] if next_prepared else None
        work.reruns = 0
        return applied

    async def _run_carefully(self, work: _Work) -> int:
        """Find out which fail, and settle each as it deserves; returns how many were put aside."""
        rest = [message for part in work.parts for message in part]
        aside = PutAside()
        async with self._workplace.database.transaction(
            patience_seconds=CAREFUL_SECONDS
        ) as connection:
            if work.reruns >= MAX_RERUNS:
                fail_all(rest, Retry("the database gave up on this batch"), aside)
            else:
                await apply_in_halves(connection, self._handler, rest, aside)
            for paused in aside.rests:
                await pause_for(connection, paused)
            await settle(connection, rest, aside.failures, aside.untouched)
        return len(aside.failures) + len(aside.untouched)

    def _prepared(self, part: list[QueueMessage]) -> object | None:
        try:
            return self._handler.prepare(part)
        except Exception as error:
            # Whatever it is, it is the fault of one of them.
            log.info("batch_unprepared", messages=len(part), error=repr(error))
            return None

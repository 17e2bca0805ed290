"""Claims, handles, settles: one loop per queue, effects and settlement in one transaction.

A transaction that fails for reasons of the database is run again as it was, and charges nobody.
A handler's error is charged to its message alone.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import psycopg
import structlog

from chatsync.database import LEASE_LOST, Connection, Database, is_transient, translated
from chatsync.errors import DatabaseUnavailable, HandlerOutcome, LeaseLost, Permanent, Retry
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.queue.lease import Lease
from chatsync.queue.message import Failure, QueueMessage, claim, settle_and_claim
from chatsync.supervision import end
from chatsync.telemetry import metrics

MAX_BACKOFF_SECONDS = 2.0
# A batch that met the database's trouble so often counts as failing (architecture §5.1).
MAX_RERUNS = 5

log = structlog.stdlib.get_logger(__name__)


class Handler(Protocol):
    """Applies messages inside the worker's transaction; raises Retry or Permanent, or fails.

    It is first called within a pipeline, where no answer can be waited for; when anything fails
    then, it is called again `carefully`.
    """

    async def __call__(
        self, connection: Connection, messages: Sequence[QueueMessage], *, carefully: bool
    ) -> None: ...


class Worker:
    """Runs handlers over their queues. `run` it as a task; cancel it to stop."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        handlers: Mapping[str, Handler],
        *,
        batch_size: int,
        poll_seconds: float,
        on_commit: "_Callback",
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._batch_size = batch_size
        self._poll_seconds = poll_seconds
        self._on_commit = on_commit
        self._lease = Lease(database.url)
        self._woken = {queue: asyncio.Event() for queue in handlers}
        doorbell.subscribe(self._hear)

    async def run(self) -> None:
        lease = asyncio.create_task(self._lease.run())
        try:
            async with asyncio.TaskGroup() as tasks:
                for queue, handler in self._handlers.items():
                    tasks.create_task(self._consume(queue, handler))
        finally:
            await end(lease)

    def _hear(self, hint: Hint) -> None:
        for queue, woken in self._woken.items():
            if hint.is_everything or queue in hint.queues:
                woken.set()

    async def _consume(self, queue: str, handler: Handler) -> None:
        batch: list[QueueMessage] = []
        reruns = 0
        try:
            while True:
                worker_id = await self._lease.worker_id()
                try:
                    if not batch:
                        batch = await self._claim(queue, worker_id)
                        reruns = 0
                        continue
                    batch = await self._process(handler, batch, worker_id, reruns)
                    reruns = 0
                except LeaseLost:
                    log.warning("lease_fenced", queue=queue, messages=len(batch))
                    await self._release(batch)
                    batch = []
                except DatabaseUnavailable as error:
                    reruns += 1
                    log.warning(
                        "batch_rerun", queue=queue, reruns=reruns, error=repr(error.__cause__)
                    )
                    await _back_off(reruns)
        finally:
            await self._release(batch)

    async def _claim(self, queue: str, worker_id: int) -> list[QueueMessage]:
        """Lease the next batch, or wait until there may be one."""
        woken = self._woken[queue]
        woken.clear()
        async with self._database.connection() as connection:
            batch = await claim(connection, queue, worker_id, self._batch_size)
            if batch:
                return batch
            cursor = await connection.execute("select chatsync.next_ready_at(%s)", [queue])
            row = await cursor.fetchone()
        try:
            async with asyncio.timeout(self._patience(row[0] if row else None)):
                await woken.wait()
        except TimeoutError:
            pass
        return []

    def _patience(self, due_at: datetime | None) -> float:
        if due_at is None:
            return self._poll_seconds
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        # Two clocks differ: a due time that has passed here may lie ahead in the database.
        return min(self._poll_seconds, max(0.01, seconds))

    async def _process(
        self, handler: Handler, batch: list[QueueMessage], worker_id: int, reruns: int
    ) -> list[QueueMessage]:
        """Handle and settle a batch in one transaction; returns the next one."""
        began = time.monotonic()
        put_aside = 0
        following = None
        if reruns < MAX_RERUNS:
            following = await self._process_at_once(handler, batch, worker_id)
        if following is None:
            following, put_aside = await self._process_carefully(handler, batch, worker_id, reruns)
        self._on_commit()
        queue = batch[0].queue
        metrics.QUEUE_BATCH_SECONDS.labels(queue).observe(time.monotonic() - began)
        metrics.QUEUE_SETTLED.labels(queue, "done").inc(len(batch) - put_aside)
        metrics.QUEUE_SETTLED.labels(queue, "failed").inc(put_aside)
        return following

    async def _process_at_once(
        self, handler: Handler, batch: list[QueueMessage], worker_id: int
    ) -> list[QueueMessage] | None:
        """All of it in one round trip; None when any of it fails, and nothing was done then."""
        async with self._database.connection() as connection:
            try:
                async with connection.pipeline(), connection.transaction():
                    await handler(connection, batch, carefully=False)
                    cursor = await settle_and_claim(
                        connection, batch, [], [], worker_id=worker_id, limit=self._batch_size
                    )
                return await cursor.fetchall()
            except Exception as error:
                _raise_if_not_ours(error)
                log.info("batch_failed", messages=len(batch), error=repr(error))
                return None

    async def _process_carefully(
        self, handler: Handler, batch: list[QueueMessage], worker_id: int, reruns: int
    ) -> tuple[list[QueueMessage], int]:
        """Find out which of them fail, and settle each as it deserves; returns how many failed."""
        async with self._database.transaction() as connection:
            if reruns >= MAX_RERUNS:
                failures, untouched = _all_failed(
                    batch, Retry("the database gave up on this batch")
                )
            else:
                failures, untouched = await _apply(connection, handler, batch)
            cursor = await settle_and_claim(
                connection, batch, failures, untouched, worker_id=worker_id, limit=self._batch_size
            )
            return await cursor.fetchall(), len(failures) + len(untouched)

    async def _release(self, batch: Sequence[QueueMessage]) -> None:
        if not batch:
            return
        try:
            async with self._database.connection() as connection:
                await connection.execute("select chatsync.release(%s)", [batch[0].lease_id])
        except (DatabaseUnavailable, psycopg.Error) as error:
            # The lease runs out by itself.
            log.warning("release_failed", error=repr(error))


class _Callback(Protocol):
    def __call__(self) -> None: ...


async def _apply(
    connection: Connection, handler: Handler, batch: Sequence[QueueMessage]
) -> tuple[list[Failure], list[int]]:
    """Run the handler over the whole batch or, where that fails, over each message alone."""
    try:
        async with connection.transaction():
            await handler(connection, batch, carefully=True)
        return [], []
    except Exception as error:
        _raise_if_not_ours(error)
        if len(batch) == 1:
            log.warning("message_failed", id=batch[0].id, error=repr(error))
            return [_failure(batch[0], error)], []
    failures: list[Failure] = []
    untouched: list[int] = []
    blocked: set[str] = set()
    for message in batch:
        if message.ordering_key is not None and message.ordering_key in blocked:
            # What is put aside takes the later messages of its key with it.
            untouched.append(message.id)
            continue
        failed, _ = await _apply(connection, handler, [message])
        failures += failed
        if failed and not failed[0].is_permanent and message.ordering_key is not None:
            blocked.add(message.ordering_key)
    return failures, untouched


def _raise_if_not_ours(error: Exception) -> None:
    """Pass on what no message is to blame for: trouble of the database, and a lost lease."""
    if isinstance(error, DatabaseUnavailable | LeaseLost):
        raise error
    if isinstance(error, psycopg.Error) and (
        is_transient(error)
        or error.sqlstate == LEASE_LOST
        or isinstance(error, psycopg.errors.PipelineAborted)
    ):
        raise translated(error) from error


def _failure(message: QueueMessage, error: Exception) -> Failure:
    text = (
        error.message if isinstance(error, HandlerOutcome) else f"{type(error).__name__}: {error}"
    )
    after = error.after_seconds if isinstance(error, Retry) else None
    return Failure(message.id, text, isinstance(error, Permanent), after)


def _all_failed(batch: Sequence[QueueMessage], error: Exception) -> tuple[list[Failure], list[int]]:
    """Charge the first message of each key, and leave the rest of the key in line behind it."""
    seen: set[str] = set()
    failures: list[Failure] = []
    untouched: list[int] = []
    for message in batch:
        if message.ordering_key is not None and message.ordering_key in seen:
            untouched.append(message.id)
            continue
        failures.append(_failure(message, error))
        if message.ordering_key is not None:
            seen.add(message.ordering_key)
    return failures, untouched


async def _back_off(attempt: int) -> None:
    delay = min(MAX_BACKOFF_SECONDS, 0.05 * 2**attempt)
    await asyncio.sleep(random.uniform(0, delay))  # noqa: S311 - jitter, not a secret

"""What a handler is, and whose fault it is when one fails: an error is charged to one message."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import psycopg
import structlog

from chatsync.database import Connection
from chatsync.errors import (
    DatabaseUnavailable,
    HandlerOutcome,
    LeaseLost,
    Pause,
    Permanent,
    Retry,
)
from chatsync.events.stamped import Stamped
from chatsync.queue.message import Failure, Lane, QueueMessage, Rest
from chatsync.refusals import LEASE_LOST, is_transient, translated

log = structlog.stdlib.get_logger(__name__)

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What ends with a call: messages of a lease, as a part or as the last of it.

    `by` stamps and rings in the same call; None leaves that to the stamper.
    """

    lease_id: int
    done: list[int]
    is_part: bool
    by: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of them; with `has_more` there is further work in their lanes."""

    has_more: bool
    stamped: Stamped


class Handler(Protocol[Prepared]):
    """Applies messages inside the worker's transaction; raises Retry or Permanent, or fails.

    So many batches of it are worked on at once, each in parts of so many messages: one part is
    prepared while PostgreSQL works on the one before.
    """

    batches: int
    part: int

    def prepare(self, messages: Sequence[QueueMessage]) -> Prepared:
        """Do what needs no database, while another batch is being applied."""
        ...

    async def apply_and_settle(
        self, connection: Connection, prepared: Prepared, settlement: Settlement
    ) -> Applied:
        """All of them or nothing, with the settlement.

        Best in one call, which commits by itself: a process that is stopped holds no lock of an
        open transaction, and nobody waits for it.
        """
        ...

    async def apply_carefully(self, connection: Connection, prepared: Prepared) -> None:
        """After that failed, in a transaction: put aside what is bad."""
        ...


@dataclass(slots=True)
class PutAside:
    """What is not done of a batch: messages that failed, and the later ones of their keys."""

    failures: list[Failure] = field(default_factory=list[Failure])
    untouched: list[int] = field(default_factory=list[int])
    rests: list[Rest] = field(default_factory=list[Rest])
    _blocked: set[Lane] = field(default_factory=set[Lane])

    def fail(self, message: QueueMessage, error: Exception) -> None:
        """Charge a message. Unless it is given up, the later ones of its key stay behind it."""
        outcome = outcome_of(message, error)
        if isinstance(outcome, Rest):
            self.rests.append(outcome)
            self.untouched.append(message.id)
        else:
            self.failures.append(outcome)
            if outcome.is_permanent:
                return
        if message.lane is not None:
            self._blocked.add(message.lane)

    def unblocked(self, batch: Sequence[QueueMessage]) -> list[QueueMessage]:
        """Those that may be done; the others are left untouched."""
        self.untouched += [message.id for message in batch if message.lane in self._blocked]
        return [message for message in batch if message.lane not in self._blocked]


async def apply_in_halves(
    connection: Connection, handler: Handler[Any], batch: Sequence[QueueMessage], aside: PutAside
) -> None:
    """Run the handler over all of them or, where that fails, over each half: log2(n) tries."""
    batch = aside.unblocked(batch)
    if not batch:
        return
    try:
        async with connection.transaction():
            await handler.apply_carefully(connection, handler.prepare(batch))
    except Exception as error:
        raise_if_not_ours(error)
        if len(batch) == 1:
            aside.fail(batch[0], error)
            return
    else:
        return
    middle = len(batch) // 2
    await apply_in_halves(connection, handler, batch[:middle], aside)
    await apply_in_halves(connection, handler, batch[middle:], aside)


def fail_all(batch: Sequence[QueueMessage], error: Exception, aside: PutAside) -> None:
    """Charge the first message of each key, and leave the rest of the key in line behind it."""
    for message in batch:
        if aside.unblocked([message]):
            aside.fail(message, error)


def raise_if_not_ours(error: Exception) -> None:
    """Pass on what no message is to blame for: trouble of the database, and a lost lease."""
    if isinstance(error, DatabaseUnavailable | LeaseLost):
        raise error
    if isinstance(error, psycopg.Error) and (is_transient(error) or error.sqlstate == LEASE_LOST):
        raise translated(error) from error


async def bounded(call: Awaitable[None], seconds: float) -> None:
    """Await code that is not ours. Raises what it raises, and Retry when it takes too long.

    CancelledError comes out only where this task is being cancelled: one of the code's own making
    would end the task without a word.
    """
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await call
    except TimeoutError:
        if not deadline.expired():
            raise
        raise Retry(f"took longer than {seconds:g} s") from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Retry("the handler was cancelled by itself") from None


def outcome_of(message: QueueMessage, error: Exception) -> Failure | Rest:
    """What an error says of a message; one that nobody knows is tried again, with its traceback."""
    if isinstance(error, Pause):
        log.warning(
            "queue_paused",
            queue=message.queue,
            id=message.id,
            correlation_id=message.correlation_id,
            scope=error.scope,
            seconds=error.after_seconds,
            error=error.message,
        )
        return Rest(message, error.message, error.scope, error.after_seconds)
    is_meant = isinstance(error, HandlerOutcome)
    text = error.message if is_meant else f"{type(error).__name__}: {error}"
    log.warning(
        "message_failed",
        queue=message.queue,
        id=message.id,
        correlation_id=message.correlation_id,
        attempt=message.retry_count,
        error=text,
        exc_info=None if is_meant else error,
    )
    after = error.after_seconds if isinstance(error, Retry) else None
    return Failure(message.id, text, isinstance(error, Permanent), after)

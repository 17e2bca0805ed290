"""What a handler is, and whose fault it is when one fails: an error is charged to one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import psycopg
import structlog

from chatsync.database import LEASE_LOST, Connection, is_transient, translated
from chatsync.errors import DatabaseUnavailable, HandlerOutcome, LeaseLost, Permanent, Retry
from chatsync.events.stamper import Stamped
from chatsync.queue.message import Failure, QueueMessage

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
    """Applies messages inside the worker's transaction; raises Retry or Permanent, or fails."""

    def prepare(self, messages: Sequence[QueueMessage]) -> Prepared:
        """Do what needs no database, while another batch is being applied."""
        ...

    async def apply_and_settle(
        self, connection: Connection, prepared: Prepared, settlement: Settlement
    ) -> Applied:
        """All of them or nothing, with the settlement, in one call.

        One call commits by itself: a process that is stopped holds no lock of an open transaction,
        and nobody waits for it.
        """
        ...

    async def apply_carefully(self, connection: Connection, prepared: Prepared) -> None:
        """After that failed, in a transaction: put aside what is bad."""
        ...


async def apply_each(
    connection: Connection, handler: Handler[Any], batch: Sequence[QueueMessage]
) -> tuple[list[Failure], list[int]]:
    """Run the handler over the whole batch or, where that fails, over each message alone."""
    try:
        async with connection.transaction():
            await handler.apply_carefully(connection, handler.prepare(batch))
        return [], []
    except Exception as error:
        raise_if_not_ours(error)
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
        failed, _ = await apply_each(connection, handler, [message])
        failures += failed
        if failed and not failed[0].is_permanent and message.ordering_key is not None:
            blocked.add(message.ordering_key)
    return failures, untouched


def raise_if_not_ours(error: Exception) -> None:
    """Pass on what no message is to blame for: trouble of the database, and a lost lease."""
    if isinstance(error, DatabaseUnavailable | LeaseLost):
        raise error
    if isinstance(error, psycopg.Error) and (is_transient(error) or error.sqlstate == LEASE_LOST):
        raise translated(error) from error


def _failure(message: QueueMessage, error: Exception) -> Failure:
    text = (
        error.message if isinstance(error, HandlerOutcome) else f"{type(error).__name__}: {error}"
    )
    after = error.after_seconds if isinstance(error, Retry) else None
    return Failure(message.id, text, isinstance(error, Permanent), after)


def all_failed(batch: Sequence[QueueMessage], error: Exception) -> tuple[list[Failure], list[int]]:
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

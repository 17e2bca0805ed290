"""A claimed queue message and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Connection, Database
from chatsync.errors import DatabaseUnavailable, PauseScope
from chatsync.quick import QuickConnection

log = structlog.stdlib.get_logger(__name__)

MAX_ERROR = 2000

# Of one queue.
Lane: TypeAlias = tuple[str, str]


# A tuple is made from a row five times as fast as a dataclass, and every message is one.
class QueueMessage(NamedTuple):
    """One message under a lease. `payload` is JSON; `retry_count` counts this delivery, too."""

    id: int
    queue: str
    tenant_id: str
    inbox_id: int | None
    message_type: str
    correlation_id: str
    ordering_key: str | None
    payload: str | None
    body: bytes | None
    metadata: dict[str, Any] | None
    retry_count: int
    worker_id: int
    lease_id: int
    created_at: datetime

    @property
    def lane(self) -> Lane | None:
        """Messages of one lane are done in order; one without a key has none."""
        return None if self.ordering_key is None else (self.tenant_id, self.ordering_key)


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that could not be done, as settle() takes it."""

    id: int
    error: str
    is_permanent: bool = False
    retry_after_seconds: float | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "error": _storable(self.error[:MAX_ERROR]),
            "isPermanent": self.is_permanent,
            "retryAfterSeconds": self.retry_after_seconds,
        }


@dataclass(frozen=True, slots=True)
class Rest:
    """A message whose surroundings must rest: it goes back uncharged."""

    message: QueueMessage
    reason: str
    scope: PauseScope
    seconds: float | None


async def claim(
    connection: QuickConnection, queue: str, worker_id: int, limit: int
) -> list[QueueMessage]:
    """Lease up to `limit` messages, in order, in autocommit."""
    rows = await connection.ask_all(
        # As QueueMessage has it. JSON is read where it is known what should be in it.
        "select id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key,"
        " payload::text, body, nullif(metadata, '{}'), retry_count, worker_id, lease_id, created_at"
        # A crash of PostgreSQL ends the worker and its claims with it: nothing to flush.
        " from chatsync.claim($1, $2, $3), set_config('synchronous_commit', 'off', true)",
        queue,
        str(worker_id),
        str(limit),
        is_binary=True,
    )
    return [QueueMessage._make(row) for row in rows]


async def settle(
    connection: Connection,
    batch: Sequence[QueueMessage],
    failures: Sequence[Failure],
    untouched: Sequence[int],
) -> None:
    """End the batch in the caller's transaction.

    Raises psycopg.DatabaseError with SQLSTATE CS001 when the lease was lost.
    """
    put_aside = {failure.id for failure in failures} | set(untouched)
    await connection.execute(
        "select chatsync.settle(%s, %s, %s, %s)",
        [
            batch[0].lease_id,
            [message.id for message in batch if message.id not in put_aside],
            Jsonb([failure.as_json() for failure in failures]),
            list(untouched),
        ],
    )


async def settle_some(
    connection: Connection,
    lease_id: int,
    done: Sequence[int],
    failures: Sequence[Failure],
    untouched: Sequence[int],
) -> bool:
    """Settle messages of a lease that have ended; returns whether their lanes have further work.

    Raises psycopg.DatabaseError with SQLSTATE CS001 when the lease was lost.
    """
    cursor = await connection.execute(
        "select chatsync.settle_some(%s, %s, %s, %s)",
        [
            lease_id,
            list(done),
            Jsonb([failure.as_json() for failure in failures]),
            list(untouched),
        ],
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def pause_for(connection: Connection, rest: Rest) -> None:
    """Let nothing begin of what a message found to be in need of a rest."""
    message = rest.message
    await connection.execute(
        "select chatsync.pause_for_message(%s, %s, %s, %s, %s, %s, make_interval(secs => %s))",
        [
            message.queue,
            message.tenant_id,
            message.inbox_id,
            message.ordering_key,
            rest.scope,
            _storable(rest.reason[:MAX_ERROR]),
            rest.seconds,
        ],
    )


async def release(database: Database, lease_id: int) -> None:
    """Give back, uncharged, whatever a lease still holds. Raises nothing of the database's."""
    try:
        async with database.connection() as connection:
            await connection.execute("select chatsync.release(%s)", [lease_id])
    except (DatabaseUnavailable, psycopg.Error) as error:
        # The lease runs out by itself.
        log.warning("release_failed", error=repr(error))


def _storable(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL and lone surrogates."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.replace("\x00", "\ufffd")

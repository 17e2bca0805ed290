"""A claimed queue message and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from chatsync.database import Connection


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """One message under a lease. `retry_count` counts this delivery, too."""

    id: int
    queue: str
    tenant_id: str
    inbox_id: int | None
    message_type: str
    correlation_id: str
    ordering_key: str | None
    payload: Any
    body: bytes | None
    metadata: dict[str, Any]
    retry_count: int
    lease_id: int
    created_at: datetime


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
            "error": self.error[:2000].replace("\x00", "\ufffd"),
            "isPermanent": self.is_permanent,
            "retryAfterSeconds": self.retry_after_seconds,
        }


async def claim(
    connection: Connection, queue: str, worker_id: int, limit: int
) -> list[QueueMessage]:
    """Lease up to `limit` messages, in order, in autocommit."""
    cursor = connection.cursor(row_factory=class_row(QueueMessage))
    await cursor.execute(
        "select id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key,"
        " payload, body, metadata, retry_count, lease_id, created_at"
        # A crash of PostgreSQL ends the worker and its claims with it: nothing to flush.
        " from chatsync.claim(%s, %s, %s), set_config('synchronous_commit', 'off', true)",
        [queue, worker_id, limit],
        binary=True,
    )
    return await cursor.fetchall()


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

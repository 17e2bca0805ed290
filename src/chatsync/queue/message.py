"""A claimed queue message and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
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
    """Lease up to `limit` messages, in order."""
    cursor = connection.cursor(row_factory=class_row(QueueMessage))
    await cursor.execute(
        "select id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key,"
        " payload, body, metadata, retry_count, lease_id, created_at"
        " from chatsync.claim(%s, %s, %s)",
        [queue, worker_id, limit],
    )
    return await cursor.fetchall()


async def settle_and_claim(
    connection: Connection,
    batch: Sequence[QueueMessage],
    failures: Sequence[Failure],
    untouched: Sequence[int],
    *,
    worker_id: int,
    limit: int,
) -> psycopg.AsyncCursor[QueueMessage]:
    """End the batch and lease the next one, in the caller's transaction: the cursor's rows.

    Raises psycopg.DatabaseError with SQLSTATE CS001 when the lease was lost; in a pipeline later.
    """
    put_aside = {failure.id for failure in failures} | set(untouched)
    cursor = connection.cursor(row_factory=class_row(QueueMessage))
    return await cursor.execute(
        "select id, queue, tenant_id, inbox_id, message_type, correlation_id, ordering_key,"
        " payload, body, metadata, retry_count, lease_id, created_at"
        " from chatsync.settle_and_claim(%s, %s, %s, %s, %s, %s, %s)",
        [
            batch[0].lease_id,
            [message.id for message in batch if message.id not in put_aside],
            Jsonb([failure.as_json() for failure in failures]),
            list(untouched),
            batch[0].queue,
            worker_id,
            limit,
        ],
    )

"""What tests of the worker API share: queues to write to and look at, and patience."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from conftest import SyncConnection
from service.harness import PATIENCE_SECONDS
from sql.queue_calls import value

QUEUE = "mail"


def enqueue(
    owner: SyncConnection,
    payload: object,
    key: str | None = None,
    *,
    queue: str = QUEUE,
    max_retries: int = 5,
    correlation_id: str | None = None,
) -> int:
    return value(
        owner,
        "select chatsync.enqueue(%s, 't1', 'test', %s, %s, p_max_retries => %s,"
        " p_correlation_id => %s)",
        [queue, Jsonb(payload), key, max_retries, correlation_id],
    )


def retry_at_once(owner: SyncConnection) -> None:
    """No backoff, so that a test sees many attempts soon."""
    owner.execute(
        "insert into chatsync.queue_policies (queue, backoff_base_seconds, backoff_cap_seconds)"
        " values (%s, 0.001, 0.001)",
        [QUEUE],
    )


def is_empty(owner: SyncConnection) -> bool:
    return not value(owner, "select exists (select from chatsync.message_queue)")


def letters(owner: SyncConnection) -> list[tuple[Any, ...]]:
    """The dead letters: correlation id, error, number of attempts."""
    return owner.execute(
        "select correlation_id, error_message, failure_count from chatsync.failed_messages"
        " order by original_message_id"
    ).fetchall()


async def until(check: Callable[[], object], what: str) -> None:
    """Ask until the answer is true; for states of the database, which send no signal."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not check():  # noqa: ASYNC110 - the database has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s") from None


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await event.wait()


def connect(database_url: str) -> SyncConnection:
    """A connection of the application, which made the database and owns its tables."""
    return psycopg.connect(database_url, autocommit=True)

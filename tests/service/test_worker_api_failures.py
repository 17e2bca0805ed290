"""Messages that are not done at the first try: deadlines, retries, dead letters."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from chatsync.worker import Message, Permanent, Retry, Worker
from conftest import SyncConnection
from service.worker_api import QUEUE, enqueue, is_empty, letters, retry_at_once, until
from sql.queue_calls import value


class Mail(BaseModel):
    to: str
    size: int = 0


@pytest.fixture(autouse=True)
def nobody_looks_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should wake a worker has to wake it."""
    monkeypatch.setenv("CHATSYNC_POLL_INTERVAL_MS", "60000")


async def test_who_takes_too_long_is_ended_and_tried_again(
    database_url: str, owner: SyncConnection
) -> None:
    retry_at_once(owner)
    attempts: list[int] = []
    errors: list[object] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE, timeout=0.05)
    async def handle(message: Message[Any]) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1:
            await asyncio.Event().wait()
        errors.append(value(owner, "select last_error from chatsync.message_queue"))

    enqueue(owner, 1)
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert attempts == [1, 2]
    assert errors == ["took longer than 0.05 s"]


async def test_a_retry_comes_when_the_handler_said(
    database_url: str, owner: SyncConnection
) -> None:
    worker = Worker(database_url)

    @worker.handler(QUEUE)
    async def handle(_message: Message[Any]) -> None:
        raise Retry("busy", after=30)

    enqueue(owner, 1)
    async with worker.running():
        await until(
            lambda: value(owner, "select status = 'retrying' from chatsync.message_queue"),
            "the retry",
        )

    row = owner.execute(
        "select last_error, retry_count, extract(epoch from scheduled_at - now())"
        " from chatsync.message_queue"
    ).fetchone()
    assert row is not None
    assert row[:2] == ("busy", 1)
    assert 20 < float(str(row[2])) <= 30


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(1.5, 1.5), (timedelta(minutes=1), 60), (-1, 0), (float("nan"), 0), (None, None)],
)
def test_a_retry_takes_seconds_or_a_timedelta(after: Any, seconds: float | None) -> None:
    assert Retry("busy", after=after).after_seconds == seconds


def test_a_retry_is_at_most_a_year_away() -> None:
    assert Retry("busy", after=float("inf")).after_seconds == 366 * 24 * 3600


async def test_a_failing_message_keeps_the_later_ones_of_its_key_waiting_uncharged(
    database_url: str, owner: SyncConnection
) -> None:
    seen: list[tuple[str, int]] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE, payload=str)
    async def handle(message: Message[str]) -> None:
        seen.append((message.payload, message.attempt))
        if message.payload == "first" and message.attempt == 1:
            raise Retry("busy", after=0.1)

    for label in ("first", "second", "third"):
        enqueue(owner, label, "a")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert seen == [("first", 1), ("first", 2), ("second", 1), ("third", 1)]


async def test_what_is_permanent_is_a_dead_letter_at_once_and_its_key_goes_on(
    database_url: str, owner: SyncConnection
) -> None:
    seen: list[str] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE, payload=str)
    async def handle(message: Message[str]) -> None:
        seen.append(message.payload)
        if message.payload == "bad":
            raise Permanent("no such user")

    enqueue(owner, "bad", "a", correlation_id="corr-1")
    enqueue(owner, "good", "a")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert seen == ["bad", "good"]
    assert letters(owner) == [("corr-1", "no such user", 1)]


async def test_a_payload_that_does_not_fit_is_a_dead_letter_that_says_why(
    database_url: str, owner: SyncConnection
) -> None:
    worker = Worker(database_url)
    called: list[object] = []

    @worker.handler(QUEUE, payload=Mail)
    async def handle(message: Message[Mail]) -> None:
        called.append(message.payload)

    enqueue(owner, {"size": "secret"}, correlation_id="corr-1")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert called == []
    ((correlation_id, error, attempts),) = letters(owner)
    assert (correlation_id, attempts) == ("corr-1", 1)
    assert error.startswith("the payload is no Mail: to: Field required; size: Input should be")
    assert "secret" not in error


@pytest.mark.parametrize(
    "error",
    [ValueError("of no kind \x00 \ud800"), asyncio.CancelledError(), TimeoutError(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_handler_that_always_raises_ends_in_the_dead_letters(
    database_url: str, owner: SyncConnection, error: BaseException
) -> None:
    retry_at_once(owner)
    attempts: list[int] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE)
    async def handle(message: Message[Any]) -> None:
        attempts.append(message.attempt)
        raise error

    enqueue(owner, 1, "a", max_retries=2, correlation_id="corr-1")
    with capture_logs() as logs:
        async with worker.running():
            await until(lambda: is_empty(owner), "the end of the queue")

    assert attempts == [1, 2, 3]
    ((correlation_id, text, count),) = letters(owner)
    assert (correlation_id, count) == ("corr-1", 3)
    assert text
    told = [entry for entry in logs if entry["event"] == "message_failed"]
    assert [entry["correlation_id"] for entry in told] == ["corr-1"] * 3

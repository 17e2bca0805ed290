"""What the worker API registers and enqueues, and what it refuses."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from chatsync.errors import ConfigError, SchemaMismatch
from chatsync.worker import Message, NewMessage, Worker
from conftest import SyncConnection
from service.worker_api import QUEUE


async def nothing(_message: Message[Any]) -> None:
    pass


async def test_many_messages_are_enqueued_in_order_and_once_per_dedupe_key(
    database_url: str,
) -> None:
    worker = Worker(database_url)
    async with worker.running():
        ids = await worker.enqueue_many(
            [
                NewMessage(queue=QUEUE, tenant_id="t1", payload={"n": number}, dedupe_key=key)
                for number, key in enumerate(["x", None, "x", None])
            ]
        )
        again = await worker.enqueue(QUEUE, "t1", 0, dedupe_key="x")

    assert ids[0] == ids[2] == again
    assert ids[0] < ids[1] < ids[3]


async def test_a_message_may_be_for_later_and_says_how_often_it_is_tried(
    database_url: str, owner: SyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATSYNC_MAX_RETRIES", "7")
    due = datetime.now(UTC) + timedelta(hours=1)
    worker = Worker(database_url)
    async with worker.running():
        await worker.enqueue(QUEUE, "t1", {"at": due}, scheduled_at=due, priority=2)
        await worker.enqueue(QUEUE, "t1", None, max_retries=0)

    rows = owner.execute(
        "select status, scheduled_at = %s, priority, max_retries, payload is null"
        " from chatsync.message_queue order by id",
        [due],
    ).fetchall()
    assert rows == [("scheduled", True, 2, 7, False), ("pending", False, 0, 0, True)]


def test_a_queue_has_one_handler_and_a_name_of_its_own() -> None:
    worker = Worker("dbname=unused")
    worker.handler(QUEUE)(nothing)
    for queue, why in (
        (QUEUE, "a handler already"),
        ("inbound", "chatsync's own"),
        ("No Queue", "no name of a queue"),
    ):
        with pytest.raises(ValueError, match=why):
            worker.handler(queue)(nothing)


def test_a_handler_that_would_block_everybody_is_refused() -> None:
    def blocks(_message: Message[Any]) -> None:
        pass

    with pytest.raises(ValueError, match="async def"):
        Worker("dbname=unused").handler(QUEUE)(blocks)  # type: ignore[arg-type]


async def test_who_does_not_run_cannot_enqueue() -> None:
    with pytest.raises(ConfigError, match="not running"):
        await Worker("dbname=unused").enqueue(QUEUE, "t1", 1)


async def test_without_a_url_the_environment_says_which_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHATSYNC_DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="CHATSYNC_DATABASE_URL"):
        async with Worker().running():
            pass
    monkeypatch.setenv("CHATSYNC_DATABASE_URL", database_url)
    worker = Worker()
    async with worker.running():
        assert await worker.enqueue(QUEUE, "t1", 1)


async def test_a_database_that_is_not_migrated_is_refused(empty_database_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="chatsync migrate"):
        async with Worker(empty_database_url).running():
            pass


async def test_what_the_database_refuses_is_said(database_url: str) -> None:
    worker = Worker(database_url)
    async with worker.running():
        with pytest.raises(psycopg.errors.CheckViolation):
            await worker.enqueue("No Queue", "t1", 1)

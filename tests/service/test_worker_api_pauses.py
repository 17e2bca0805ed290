"""What must rest for a while: paused by its handler, charged to nobody."""

from typing import Any

import pytest

from chatsync.database import Connection
from chatsync.worker import Message, NewMessage, Pause, QueueFull, Worker
from conftest import SyncConnection
from service.worker_api import QUEUE, connect, enqueue, is_empty, until
from sql.queue_calls import value

INBOX = 7


def add(owner: SyncConnection, label: str, key: str | None, inbox_id: int | None = INBOX) -> None:
    value(
        owner,
        "select chatsync.enqueue(%s, 't1', 'test', to_jsonb(%s::text), %s, p_inbox_id => %s)",
        [QUEUE, label, key, inbox_id],
    )


def pauses(owner: SyncConnection) -> list[tuple[Any, ...]]:
    return owner.execute(
        "select tenant_id, inbox_id, ordering_key, pause_reason, paused_until is not null"
        " from chatsync.queue_pauses"
    ).fetchall()


def resting(owner: SyncConnection) -> list[tuple[Any, ...]]:
    """What is in line and in nobody's hands: label, attempts."""
    return owner.execute(
        "select payload #>> '{}', retry_count from chatsync.message_queue"
        " where status in ('pending', 'paused') order by id"
    ).fetchall()


@pytest.mark.parametrize("key", ["a", None], ids=["keyed", "keyless"])
async def test_an_inbox_whose_token_expired_rests_uncharged_and_nobody_else(
    database_url: str, owner: SyncConnection, key: str | None
) -> None:
    seen: list[str] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE, payload=str, concurrency=1)
    async def handle(message: Message[str]) -> None:
        seen.append(message.payload)
        if message.inbox_id == INBOX and len(seen) == 1:
            raise Pause("the token expired")

    add(owner, "one", key)
    add(owner, "two", key)
    async with worker.running():
        await until(lambda: pauses(owner), "the pause")
        await until(lambda: len(resting(owner)) == (2 if key else 1), "what goes back")
        add(owner, "other", "b", 8)
        await until(lambda: "other" in seen, "another inbox")

        assert pauses(owner) == [("t1", INBOX, None, "the token expired", False)]
        assert {attempts for _, attempts in resting(owner)} == {0}

        value(owner, "select chatsync.resume(%s, 't1', %s)", [QUEUE, INBOX])
        await until(lambda: is_empty(owner), "the end of the queue")
    assert [label for label in seen if label != "other"] == (
        ["one", "one", "two"] if key else ["one", "two", "one"]
    )


async def test_a_throttled_inbox_goes_on_by_itself(
    database_url: str, owner: SyncConnection
) -> None:
    attempts: list[int] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE)
    async def handle(message: Message[Any]) -> None:
        attempts.append(message.attempt)
        if len(attempts) == 1:
            raise Pause("throttled", after=0)  # which is one second

    add(owner, "one", "a")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert attempts == [1, 1]
    assert pauses(owner) == []


async def test_a_transactional_handler_pauses_too_and_its_effects_are_undone(
    database_url: str, owner: SyncConnection
) -> None:
    worker = Worker(database_url)
    with connect(database_url) as application:
        application.execute("create table public.effects (label text)")
        application.execute("grant all on public.effects to public")

    @worker.transactional(QUEUE, payload=str)
    async def book(connection: Connection, messages: list[Message[str]]) -> None:
        for message in messages:
            await connection.execute("insert into public.effects values (%s)", [message.payload])
            if message.inbox_id == INBOX:
                raise Pause("closed", scope="key")

    add(owner, "one", "a")
    add(owner, "two", "a", 8)
    add(owner, "three", "b", 8)
    async with worker.running():
        await until(lambda: pauses(owner), "the pause")

    assert pauses(owner) == [("t1", None, "a", "closed", False)]
    assert owner.execute("select label from public.effects").fetchall() == [("three",)]
    assert resting(owner) == [("one", 0), ("two", 0)]


async def test_a_message_without_an_inbox_pauses_its_tenant(
    database_url: str, owner: SyncConnection
) -> None:
    worker = Worker(database_url)

    @worker.handler(QUEUE)
    async def handle(_message: Message[Any]) -> None:
        raise Pause("closed", after=3600)

    enqueue(owner, 1)
    async with worker.running():
        await until(lambda: pauses(owner), "the pause")

    assert pauses(owner) == [("t1", None, None, "closed", True)]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("null", "'1 minute'", "by hand"),
        ("now() + '1 hour'", "'1 minute'", "by hand"),
        ("now() + '1 second'", "'1 minute'", "token"),
        ("now() + '1 hour'", "null", "token"),
    ],
)
def test_a_pause_that_lasts_longer_stays(
    owner: SyncConnection, first: str, second: str, reason: str
) -> None:
    owner.execute(f"select chatsync.pause('{QUEUE}', 't1', 7, null, 'by hand', {first})".encode())
    scope = f"'{QUEUE}', 't1', 7, 'a', 'inbox'"
    owner.execute(f"select chatsync.pause_for_message({scope}, 'token', {second})".encode())
    assert [row[3] for row in pauses(owner)] == [reason]


async def test_a_full_queue_is_an_error_of_its_own(
    database_url: str, owner: SyncConnection
) -> None:
    value(owner, "select chatsync.limit_depth(%s, 2)", [QUEUE])
    producer = Worker(database_url)
    async with producer.running():
        await producer.enqueue_many([NewMessage(queue=QUEUE, tenant_id="t1", inbox_id=INBOX)] * 2)
        owner.execute("update chatsync.queue_limits set counted_at = null")
        with pytest.raises(QueueFull, match="the queue mail is full: it holds 2 messages"):
            await producer.enqueue(QUEUE, "t1", 3)
    assert value(owner, "select array_agg(inbox_id) from chatsync.message_queue") == [INBOX] * 2

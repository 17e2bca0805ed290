"""Handlers with effects elsewhere: called for each message, in order per key, at least once."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from chatsync.worker import Message, Worker
from conftest import SyncConnection
from service.worker_api import QUEUE, enqueue, happens, is_empty, letters, until
from sql.queue_calls import value


class Mail(BaseModel):
    to: str
    size: int = 0


@dataclass
class Note:
    to: str


class Line(TypedDict):
    to: str


@pytest.fixture(autouse=True)
def nobody_looks_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should wake a worker has to wake it."""
    monkeypatch.setenv("CHATSYNC_POLL_INTERVAL_MS", "60000")


@pytest.mark.parametrize(
    ("model", "payload"),
    [
        (Mail, Mail(to="ana", size=7)),
        (Note, Note("ana")),
        (Line, {"to": "ana"}),
        (list[int], [1, 2]),
        (None, {"any": ["thing"]}),
    ],
    ids=["pydantic", "dataclass", "typed dict", "list", "plain JSON"],
)
async def test_a_handler_gets_the_payload_as_what_it_asked_for(
    database_url: str, owner: SyncConnection, model: Any, payload: object
) -> None:
    worker = Worker(database_url)
    seen: list[Message[Any]] = []

    async def send(message: Message[Any]) -> None:
        seen.append(message)

    if model is None:
        worker.handler(QUEUE)(send)
    else:
        worker.handler(QUEUE, payload=model)(send)
    async with worker.running():
        new_id = await worker.enqueue(
            QUEUE, "t1", payload, ordering_key="a", correlation_id="c-1", metadata={"m": 1}
        )
        await until(lambda: is_empty(owner), "the end of the queue")

    (message,) = seen
    assert message.payload == payload
    assert type(message.payload) is type(payload)
    assert (message.id, message.queue, message.tenant_id) == (new_id, QUEUE, "t1")
    assert (message.ordering_key, message.message_type) == ("a", QUEUE)
    assert (message.correlation_id, message.metadata, message.attempt) == ("c-1", {"m": 1}, 1)
    assert message.created_at.tzinfo is not None
    with pytest.raises(AttributeError):
        message.payload = None  # type: ignore[misc]


async def test_messages_of_a_key_are_handled_in_order_by_any_number_of_workers(
    database_url: str, owner: SyncConnection
) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    busy: set[str] = set()
    keys = [f"k{number}" for number in range(6)]
    for number in range(40):
        for key in keys:
            enqueue(owner, number, key)

    async def handle(message: Message[int]) -> None:
        key = message.ordering_key or ""
        assert key not in busy, "two messages of a key at the same time"
        busy.add(key)
        await asyncio.sleep(0)
        busy.remove(key)
        seen[key].append(message.payload)

    async with AsyncExitStack() as stack:
        for _ in range(3):
            worker = Worker(database_url, batch_size=7)
            worker.handler(QUEUE, payload=int, concurrency=4)(handle)
            await stack.enter_async_context(worker.running())
        await until(lambda: is_empty(owner), "the end of the queue")

    assert seen == {key: list(range(40)) for key in keys}
    assert letters(owner) == []


async def test_no_more_messages_are_handled_at_once_than_allowed(
    database_url: str, owner: SyncConnection
) -> None:
    running = most = 0
    three = asyncio.Event()
    worker = Worker(database_url)

    @worker.handler(QUEUE, concurrency=3)
    async def handle(_message: Message[Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            three.set()
        await happens(three)
        # Whoever else may begin does so now.
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1

    for number in range(30):
        enqueue(owner, number, f"k{number}" if number % 2 else None)
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert most == 3


async def test_a_slow_message_keeps_nobody_but_its_own_key_waiting(
    database_url: str, owner: SyncConnection
) -> None:
    may_end = asyncio.Event()
    seen: list[str] = []
    worker = Worker(database_url)

    @worker.handler(QUEUE, payload=str)
    async def handle(message: Message[str]) -> None:
        if message.payload == "slow":
            await happens(may_end)
        seen.append(message.payload)

    for label, key in (("slow", "a"), ("behind", "a"), ("quick", "b"), ("free", None)):
        enqueue(owner, label, key)
    async with worker.running():
        await until(lambda: len(seen) == 2, "the quick ones")
        # The lane of a message that came in the same batch is free again.
        enqueue(owner, "next", "b")
        await until(lambda: len(seen) == 3, "the next one of the quick key")
        assert set(seen) == {"quick", "free", "next"}
        may_end.set()
        await until(lambda: is_empty(owner), "the end of the queue")

    assert seen[3:] == ["slow", "behind"]


async def test_what_is_not_done_when_the_worker_ends_goes_back_uncharged(
    database_url: str, owner: SyncConnection
) -> None:
    has_begun = asyncio.Event()
    may_end = asyncio.Event()
    worker = Worker(database_url, grace_seconds=1)

    @worker.handler(QUEUE, payload=str, concurrency=2)
    async def handle(message: Message[str]) -> None:
        if message.payload == "quick":
            has_begun.set()
            await may_end.wait()
        else:
            await asyncio.Event().wait()

    for label in ("quick", "slow", "waiting"):
        enqueue(owner, label, label)
    enqueue(owner, "behind", "quick")
    async with worker.running():
        await happens(has_begun)
        asyncio.get_running_loop().call_later(0.1, may_end.set)

    # What ended within the grace time is done; nothing was begun after the end was called for.
    rows = owner.execute(
        "select payload #>> '{}', status, retry_count, last_error from chatsync.message_queue"
        " order by id"
    ).fetchall()
    assert rows == [(label, "pending", 0, None) for label in ("slow", "waiting", "behind")]
    assert value(owner, "select count(*) from chatsync.workers") == 0
    assert value(owner, "select count(*) from chatsync.lane_turns where lease_id is not null") == 0

"""Handlers with effects in this database: together with the settlement, once, a bad one alone."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from chatsync.database import Connection
from chatsync.worker import Message, Permanent, Retry, Worker
from conftest import SyncConnection
from service.worker_api import (
    QUEUE,
    connect,
    enqueue,
    happens,
    is_empty,
    letters,
    retry_at_once,
    until,
)
from sql.queue_calls import value


class Entry(BaseModel):
    amount: int


Batch = list[Message[Entry]]


@pytest.fixture
def ledger(database_url: str) -> Generator[SyncConnection]:
    """The application's own table, which a worker may write."""
    with connect(database_url) as application:
        application.execute(
            "create table public.ledger (message_id bigint, amount integer check (amount >= 0))"
        )
        application.execute("grant insert, select on public.ledger to chatsync_worker")
        yield application


async def book(connection: Connection, messages: Batch) -> None:
    await connection.cursor().executemany(
        "insert into public.ledger values (%s, %s)",
        [(message.id, message.payload.amount) for message in messages],
    )


def booked(ledger: SyncConnection) -> list[int]:
    return value(
        ledger, "select coalesce(array_agg(amount order by message_id), '{}') from public.ledger"
    )


async def test_effect_and_settlement_become_true_together(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    worker = Worker(database_url)
    sizes: list[int] = []
    balance = (
        "select (select count(*) from public.ledger)"
        " + (select count(*) from chatsync.message_queue)"
    )
    owner.execute("set role chatsync_worker")

    @worker.transactional(QUEUE, payload=Entry)
    async def handle(connection: Connection, messages: Batch) -> None:
        sizes.append(len(messages))
        await book(connection, messages)
        # Seen from outside, nothing has happened yet; seen from inside, no message is gone.
        assert value(ledger, "select count(*) from public.ledger") == sum(sizes[:-1])

    ids = [enqueue(owner, {"amount": n}, f"k{n % 3}") for n in range(50)]
    balances: set[int] = set()
    async with worker.running():
        await until(lambda: balances.add(value(owner, balance)) or is_empty(owner), "the end")

    assert booked(ledger) == list(range(50))
    rows = ledger.execute("select message_id from public.ledger order by 1").fetchall()
    assert [row[0] for row in rows] == ids
    assert balances == {50}
    assert sum(sizes) == 50


async def test_a_lost_lease_undoes_the_effect(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    worker = Worker(database_url)
    attempts: list[int] = []

    @worker.transactional(QUEUE, payload=Entry)
    async def handle(connection: Connection, messages: Batch) -> None:
        attempts.append(messages[0].attempt)
        await book(connection, messages)
        if len(attempts) == 1:
            owner.execute("select chatsync.release(lease_id) from chatsync.message_queue")

    enqueue(owner, {"amount": 7}, "a")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert booked(ledger) == [7]
    # The first one was charged to nobody, since the work was somebody else's.
    assert attempts == [1, 1]


BAD = {
    "raises": (17, "ValueError: not seventeen"),
    "is refused by the database": (-1, "CheckViolation"),
    "hides that the database refused it": (-2, "hid an error of the database"),
    "does not fit": ("x", "the payload is no Entry: amount: "),
    "hangs": (18, "took longer than 0.2 s"),
    "hangs in the database": (19, "took longer than 0.2 s"),
}


async def book_or_fail(connection: Connection, messages: Batch) -> None:
    """Fails in the way that an amount of the table above asks for."""
    amounts = {message.payload.amount for message in messages}
    try:
        await book(connection, messages)
    except psycopg.Error:
        if -2 not in amounts:
            raise
    if 17 in amounts:
        raise ValueError("not seventeen")
    if 18 in amounts:
        await asyncio.Event().wait()
    if 19 in amounts:
        await connection.execute("select pg_sleep(60)")


@pytest.mark.parametrize("kind", BAD)
async def test_one_bad_of_fifty_is_charged_alone(
    database_url: str, owner: SyncConnection, ledger: SyncConnection, kind: str
) -> None:
    worker = Worker(database_url)
    attempts: list[int] = []

    bad, said = BAD[kind]

    @worker.transactional(QUEUE, payload=Entry, timeout=0.2 if "hangs" in kind else 30)
    async def handle(connection: Connection, messages: Batch) -> None:
        attempts.extend(message.attempt for message in messages)
        await book_or_fail(connection, messages)

    for number in range(100, 150):
        amount = bad if number == 117 else number
        enqueue(
            owner, {"amount": amount}, f"k{number % 5}", max_retries=0, correlation_id=f"c{number}"
        )
    async with worker.running():
        await until(lambda: len(letters(owner)) == 1, "the dead letter")
        await until(lambda: is_empty(owner), "the end of the queue")

    ((correlation_id, error, count),) = letters(owner)
    assert (correlation_id, count) == ("c117", 1)
    assert said in error
    assert booked(ledger) == [number for number in range(100, 150) if number != 117]
    # Those that waited behind it in its key were not charged for that, either.
    assert set(attempts) == {1}


async def test_a_retry_keeps_its_key_waiting_and_nobody_else(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    worker = Worker(database_url)
    blocked = asyncio.Event()

    @worker.transactional(QUEUE, payload=Entry)
    async def handle(connection: Connection, messages: Batch) -> None:
        if any(m.payload.amount == 0 for m in messages) and not blocked.is_set():
            raise Retry("not yet", after=0.2)
        await book(connection, messages)

    for number, key in enumerate(["a", "a", "b", None]):
        enqueue(owner, {"amount": number}, key)
    async with worker.running():
        await until(lambda: booked(ledger) == [2, 3], "the others")
        blocked.set()
        await until(lambda: is_empty(owner), "the end of the queue")

    # In the order in which they were booked.
    assert value(ledger, "select array_agg(amount) from public.ledger")[2:] == [0, 1]


async def test_what_a_handler_enqueues_becomes_true_with_its_effects(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    worker = Worker(database_url)
    told: list[int] = []
    all_told = asyncio.Event()

    @worker.transactional(QUEUE, payload=Entry)
    async def handle(connection: Connection, messages: Batch) -> None:
        await book(connection, messages)
        for message in messages:
            await worker.enqueue("receipts", "t1", message.payload, connection=connection)
        if any(message.payload.amount == 1 for message in messages):
            raise Permanent("one is none")

    @worker.handler("receipts", payload=Entry)
    async def tell(message: Message[Entry]) -> None:
        told.append(message.payload.amount)
        if len(told) == 2:
            all_told.set()

    for number in range(3):
        enqueue(owner, {"amount": number})
    async with worker.running():
        await happens(all_told)
        await until(lambda: is_empty(owner), "the end of the queues")

    assert sorted(told) == [0, 2]
    assert booked(ledger) == [0, 2]


async def test_a_handler_that_always_raises_ends_in_the_dead_letters(
    database_url: str, owner: SyncConnection
) -> None:
    retry_at_once(owner)
    attempts: list[int] = []
    worker = Worker(database_url)

    @worker.transactional(QUEUE)
    async def handle(_connection: Connection, messages: list[Message[Any]]) -> None:
        attempts.append(messages[0].attempt)
        raise asyncio.CancelledError

    enqueue(owner, 1, "a", max_retries=2, correlation_id="corr-1")
    async with worker.running():
        await until(lambda: is_empty(owner), "the end of the queue")

    assert letters(owner) == [("corr-1", "the handler was cancelled by itself", 3)]
    assert set(attempts) == {1, 2, 3}


async def test_a_batch_under_way_is_ended_within_the_grace_time(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    worker = Worker(database_url)
    has_begun = asyncio.Event()
    may_end = asyncio.Event()

    @worker.transactional(QUEUE, payload=Entry)
    async def handle(connection: Connection, messages: Batch) -> None:
        has_begun.set()
        await may_end.wait()
        await book(connection, messages)

    enqueue(owner, {"amount": 1})
    async with worker.running():
        await happens(has_begun)
        asyncio.get_running_loop().call_later(0.05, may_end.set)

    assert booked(ledger) == [1]
    assert is_empty(owner)


async def test_batches_of_a_key_are_booked_in_order_by_any_number_of_workers(
    database_url: str, owner: SyncConnection, ledger: SyncConnection
) -> None:
    ledger.execute("alter table public.ledger add place integer generated always as identity")
    ids = {key: [enqueue(owner, {"amount": n}, key) for n in range(60)] for key in "abc"}
    async with AsyncExitStack() as stack:
        for _ in range(2):
            worker = Worker(database_url, batch_size=7)

            @worker.transactional(QUEUE, payload=Entry)
            async def handle(connection: Connection, messages: Batch) -> None:
                for message in messages:
                    await connection.execute(
                        "insert into public.ledger values (%s, %s)",
                        [message.id, message.payload.amount],
                    )

            await stack.enter_async_context(worker.running())
        await until(lambda: is_empty(owner), "the end of the queue")

    found = ledger.execute("select message_id from public.ledger order by place").fetchall()
    for of_key in ids.values():
        assert [row[0] for row in found if row[0] in of_key] == of_key
    assert len(found) == 180

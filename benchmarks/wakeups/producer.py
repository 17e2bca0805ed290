"""A process that enqueues messages at random moments, far enough apart for everything to idle.

    producer.py COUNT

So many in each of the ways, in turns, so that what else the machine does falls on all of them.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import psycopg
from psycopg.types.json import Jsonb
from ways import WAYS, Way

from chatsync.worker import Worker

GAP_SECONDS = (0.05, 0.1)
# Longer than an idle worker takes to ask for the next due time.
AHEAD_SECONDS = 0.06

Send = Callable[[Way, str | None], Awaitable[None]]


async def main(count: int) -> None:
    worker = Worker()
    async with worker.running():
        with _connected() as foreign, _connected() as plain:
            foreign.execute("set role chatsync_producer")
            senders = _senders(worker, foreign, plain)
            for number in range(count):
                for way in random.sample(WAYS, len(WAYS)):
                    await asyncio.sleep(random.uniform(*GAP_SECONDS))
                    await senders[way.kind](way, f"key-{number}" if way.has_key else None)
        await asyncio.sleep(0.1)  # the last ring


def _connected() -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(os.environ["CHATSYNC_DATABASE_URL"], autocommit=True)


def _senders(
    worker: Worker,
    foreign: psycopg.Connection[tuple[object, ...]],
    plain: psycopg.Connection[tuple[object, ...]],
) -> dict[str, Send]:
    async def enqueue(way: Way, key: str | None) -> None:
        payload = {"way": way.name, "at": time.monotonic_ns()}
        await worker.enqueue(way.queue, "t1", payload, ordering_key=key)

    async def schedule(way: Way, key: str | None) -> None:
        # PostgreSQL keeps microseconds.
        due = (time.time_ns() + int(AHEAD_SECONDS * 1e9)) // 1000 * 1000
        await worker.enqueue(
            way.queue,
            "t1",
            {"way": way.name, "due": due},
            ordering_key=key,
            scheduled_at=datetime.fromtimestamp(due // 1000 / 1e6, UTC),
        )
        await asyncio.sleep(AHEAD_SECONDS)

    # The simplest of clients may block: meanwhile nothing else is to be done here.
    async def insert(way: Way, key: str | None) -> None:
        payload = {"way": way.name, "at": time.monotonic_ns()}
        foreign.execute(
            "insert into chatsync.message_queue"
            " (queue, tenant_id, message_type, correlation_id, ordering_key, payload)"
            " values (%s, 't1', 'test', 'c', %s, %s)",
            [way.queue, key, Jsonb(payload)],
        )

    async def notify(_way: Way, _key: str | None) -> None:
        plain.execute("insert into public.floor (at) values (%s)", [time.monotonic_ns()])
        plain.execute("notify floor")

    return {"worker": enqueue, "scheduled": schedule, "foreign": insert, "floor": notify}


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""A process that enqueues messages one by one at random moments, far enough apart for all to idle.

    producer.py BLOCK WAY QUEUE with-keys|without-keys COUNT

WAY: `worker` is chatsync's Python, `foreign` a plain insert by another program, `scheduled` puts
all in line beforehand, for such moments.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
from psycopg.types.json import Jsonb

from chatsync.worker import NewMessage, Worker

GAP_SECONDS = (0.05, 0.1)
# What is put in line beforehand must all be there before the first one is due.
AHEAD_SECONDS = 3.0


def gap() -> float:
    return random.uniform(*GAP_SECONDS)


def key_of(number: int, keys: str) -> str | None:
    return f"key-{number}" if keys == "with-keys" else None


async def by_worker(block: str, queue: str, keys: str, count: int) -> None:
    worker = Worker()
    async with worker.running():
        for number in range(count):
            await asyncio.sleep(gap())
            payload = {"block": block, "at": time.monotonic_ns()}
            await worker.enqueue(queue, "t1", payload, ordering_key=key_of(number, keys))
        await asyncio.sleep(0.1)  # the last ring


async def beforehand(block: str, queue: str, keys: str, count: int) -> None:
    def messages() -> Iterator[NewMessage]:
        due = time.time_ns() + int(AHEAD_SECONDS * 1e9)
        for number in range(count):
            due += int(gap() * 1e6) * 1000  # PostgreSQL keeps microseconds
            yield NewMessage(
                queue=queue,
                tenant_id="t1",
                payload={"block": block, "due": due},
                ordering_key=key_of(number, keys),
                scheduled_at=datetime.fromtimestamp(due / 1e9, UTC),
            )

    worker = Worker()
    async with worker.running():
        await worker.enqueue_many(messages())
        await asyncio.sleep(0.1)


def by_insert(block: str, queue: str, keys: str, count: int) -> None:
    with psycopg.connect(os.environ["CHATSYNC_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("set role chatsync_producer")
        for number in range(count):
            time.sleep(gap())
            payload = {"block": block, "at": time.monotonic_ns()}
            connection.execute(
                "insert into chatsync.message_queue"
                " (queue, tenant_id, message_type, correlation_id, ordering_key, payload)"
                " values (%s, 't1', 'test', 'c', %s, %s)",
                [queue, key_of(number, keys), Jsonb(payload)],
            )


def main() -> None:
    block, way, queue, keys, count = sys.argv[1:]
    if way == "foreign":
        by_insert(block, queue, keys, int(count))
        return
    produce = by_worker if way == "worker" else beforehand
    asyncio.run(produce(block, queue, keys, int(count)))


if __name__ == "__main__":
    main()

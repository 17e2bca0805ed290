"""chatsync through `chatsync.worker`: a transactional handler, or one for effects elsewhere."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import psycopg
import uvloop
from conversation import Tally, batches, converse, in_turns
from psycopg import AsyncConnection

from chatsync.migrate import migrate
from chatsync.telemetry import logs
from chatsync.worker import Message, NewMessage, Worker

QUEUE = "work"
TENANT = "acme"
URL = os.environ["DATABASE_URL"]
IS_EXTERNAL = os.environ["KIND"] == "external"


class Chatsync:
    """A producer without handlers, and a worker that starts while its queue is paused."""

    def __init__(self) -> None:
        self._producing = AsyncExitStack()
        self._working = AsyncExitStack()
        self._producer = Worker(URL)
        self._tally = Tally(0)
        self._operator: AsyncConnection[Any] | None = None
        self._is_working = False

    async def install(self) -> None:
        migrate(URL)
        self._operator = await AsyncConnection.connect(URL, autocommit=True)
        await self._operator.execute("set role chatsync_owner")
        await self._operator.execute("select chatsync.create_tenant(%s)", [TENANT])
        await self._operator.execute("set role chatsync_operator")
        await self._producing.enter_async_context(self._producer.running())

    async def enqueue(
        self, payloads: Sequence[dict[str, Any]], settings: Mapping[str, int]
    ) -> None:
        parts = batches(payloads, settings["enqueue_batch"])
        at_once = 1 if payloads[0]["key"] else settings["enqueue_at_once"]
        await in_turns([partial(self._enqueue, part) for part in parts], at_once)

    async def ready(self, settings: Mapping[str, int]) -> None:
        await self._say("select chatsync.pause(%s)")
        if not self._is_working:
            self._is_working = True
            await self._working.enter_async_context(self._worker(settings).running())

    async def begin(self, tally: Tally, keys: int, settings: Mapping[str, int]) -> None:
        self._tally = tally
        await self._say("select chatsync.resume(%s)")

    async def end(self) -> None:
        await self._say("select chatsync.pause(%s)")

    async def close(self) -> None:
        await self._working.aclose()
        await self._producing.aclose()

    async def _enqueue(self, payloads: Sequence[dict[str, Any]]) -> None:
        await self._producer.enqueue_many(
            NewMessage(queue=QUEUE, tenant_id=TENANT, payload=payload, ordering_key=payload["key"])
            for payload in payloads
        )

    def _worker(self, settings: Mapping[str, int]) -> Worker:
        worker = Worker(URL, batch_size=settings["batch"])
        if IS_EXTERNAL:

            @worker.handler(QUEUE, concurrency=settings["concurrency"])
            async def handle(message: Message[Any]) -> None:
                self._tally.add(message.payload)
        else:

            @worker.transactional(QUEUE)
            async def book(_connection: AsyncConnection[Any], messages: list[Message[Any]]) -> None:
                for message in messages:
                    self._tally.add(message.payload)

        return worker

    async def _say(self, query: Any) -> None:
        assert self._operator is not None
        await self._operator.execute(query, [QUEUE])


async def main() -> None:
    chatsync = Chatsync()
    try:
        await converse(chatsync)
    finally:
        await chatsync.close()


if __name__ == "__main__":
    logs.configure(log_format="json", log_level="warning")
    assert psycopg.pq.__impl__ == "binary"
    uvloop.run(main())

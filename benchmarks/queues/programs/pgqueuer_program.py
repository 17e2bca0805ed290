"""pgqueuer: one QueueManager over a pool of asyncpg, by its documentation the faster one."""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import asyncpg
import uvloop
from conversation import Tally, batches, converse, in_turns
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

POOL = 8


class Pgqueuer:
    """A manager cannot be paused: it starts when it is to begin, on a pool that is open."""

    def __init__(self) -> None:
        self._driver: Any = None
        self._manager: QueueManager | None = None
        self._working: asyncio.Task[None] | None = None

    async def install(self) -> None:
        pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL)
        self._driver = AsyncpgPoolDriver(pool)
        await Queries(self._driver).install()

    async def enqueue(
        self, payloads: Sequence[dict[str, Any]], settings: Mapping[str, int]
    ) -> None:
        queries = Queries(self._driver)
        calls = [
            partial(self._enqueue, queries, part)
            for part in batches(payloads, settings["enqueue_batch"])
        ]
        await in_turns(calls, settings["enqueue_at_once"])

    async def ready(self, settings: Mapping[str, int]) -> None: ...

    async def begin(self, tally: Tally, keys: int, settings: Mapping[str, int]) -> None:
        self._manager = QueueManager(Queries(self._driver))

        @self._manager.entrypoint("work")
        async def work(job: Job) -> None:
            tally.add(json.loads(job.payload or b""))

        self._working = asyncio.create_task(self._manager.run(batch_size=settings["batch"]))

    async def end(self) -> None:
        if self._manager is not None and self._working is not None:
            self._manager.shutdown.set()
            await self._working

    async def _enqueue(self, queries: Queries, payloads: Sequence[dict[str, Any]]) -> None:
        await queries.enqueue(
            ["work"] * len(payloads),
            [json.dumps(payload).encode() for payload in payloads],
            [0] * len(payloads),
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(converse(Pgqueuer()))

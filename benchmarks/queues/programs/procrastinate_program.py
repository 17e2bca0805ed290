"""procrastinate: one worker with many jobs at once, listening, jobs deleted when they are done."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import procrastinate
import uvloop
from conversation import Tally, batches, converse, in_turns

POOL = 20


class Procrastinate:
    """A worker cannot be paused: it starts when it is to begin, on a pool that is open."""

    def __init__(self) -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=os.environ["DATABASE_URL"], min_size=POOL, max_size=POOL
        )
        self._app = procrastinate.App(connector=connector)
        self._tally = Tally(0)
        self._working: asyncio.Task[None] | None = None

        @self._app.task(name="work", queue="work")
        async def work(payload: dict[str, Any]) -> None:
            self._tally.add(payload)

        self._task = work

    async def install(self) -> None:
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

    async def enqueue(
        self, payloads: Sequence[dict[str, Any]], settings: Mapping[str, int]
    ) -> None:
        if payloads[0]["key"]:
            for part in batches(payloads, settings["enqueue_batch"]):
                await self._defer_in_order(part)
            return
        calls = [
            partial(self._task.batch_defer_async, *({"payload": payload} for payload in part))
            for part in batches(payloads, settings["enqueue_batch"])
        ]
        await in_turns(calls, settings["enqueue_at_once"])

    async def ready(self, settings: Mapping[str, int]) -> None: ...

    async def begin(self, tally: Tally, keys: int, settings: Mapping[str, int]) -> None:
        self._tally = tally
        running = self._app.run_worker_async(
            queues=["work"],
            # More than one job of a lock cannot run, and who finds none rests until it asks again.
            concurrency=min(settings["concurrency"], keys or settings["concurrency"]),
            fetch_job_polling_interval=settings["poll_ms"] / 1e3,
            delete_jobs="always",
            install_signal_handlers=False,
        )
        self._working = asyncio.create_task(running)

    async def end(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])

    async def _defer_in_order(self, payloads: Sequence[dict[str, Any]]) -> None:
        """One call for jobs of different locks; what a task defers by itself has one."""
        jobs = [
            self._task.configure(lock=payload["key"]).make_new_job(payload=payload)
            for payload in payloads
        ]
        await self._app.job_manager.batch_defer_jobs_async(jobs)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(converse(Procrastinate()))

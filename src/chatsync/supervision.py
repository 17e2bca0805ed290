"""Keeps long-running tasks alive: a task that fails is reported and started again."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

RESTART_SECONDS = 1.0

log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def running(*runs: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    """Run all of them beside the body; cancel them, last first, when it ends."""
    tasks = [asyncio.create_task(_supervise(run)) for run in runs]
    try:
        yield
    finally:
        for task in reversed(tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _supervise(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:  # a task must outlive whatever a moment brings
            log.exception("task_failed", task=getattr(run, "__qualname__", repr(run)))
        await asyncio.sleep(RESTART_SECONDS)

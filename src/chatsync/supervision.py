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
            await end(task)


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended.

    More than once if need be: a query that is cancelled while its connection breaks raises the
    connection's error, and the cancellation is gone.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=RESTART_SECONDS)


async def _supervise(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:  # a task must outlive whatever a moment brings
            log.exception("task_failed", task=getattr(run, "__qualname__", repr(run)))
        await asyncio.sleep(RESTART_SECONDS)

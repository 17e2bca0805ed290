"""Keeps long-running tasks alive: a task that fails is reported and started again."""

import asyncio
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

RESTART_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 2.0

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


async def until_signal(running: AbstractAsyncContextManager[object]) -> None:
    """Stay inside until the process is told to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    async with running:
        await ended.wait()


async def back_off(attempt: int) -> None:
    """Sleep a while, the longer the more attempts have failed."""
    delay = min(MAX_BACKOFF_SECONDS, 0.05 * 2 ** min(attempt, 10))
    await asyncio.sleep(random.uniform(0, delay))  # noqa: S311 - jitter, not a secret


async def _supervise(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:  # a task must outlive whatever a moment brings
            log.exception("task_failed", task=getattr(run, "__qualname__", repr(run)))
        await asyncio.sleep(RESTART_SECONDS)

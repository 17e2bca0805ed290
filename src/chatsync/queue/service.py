"""Composes a worker: its pool, its handlers, its upkeep."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from chatsync.database import Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.listener import Listener
from chatsync.events.stamper import Stamper
from chatsync.queue.enqueue import INBOUND
from chatsync.queue.handlers import InboundHandler
from chatsync.queue.upkeep import Upkeep
from chatsync.queue.worker import Worker
from chatsync.settings import Settings
from chatsync.supervision import running


@asynccontextmanager
async def working(settings: Settings, doorbell: Doorbell) -> AsyncGenerator[None]:
    """A worker that hears the doorbell of this process. Raises ConfigError."""
    url = settings.require_database_url()
    database = Database(url, "chatsync_worker", size=settings.pool_size, name="chatsync worker")
    await database.open()
    try:
        stamper = Stamper(database, doorbell, poll_seconds=settings.poll_interval_ms / 1000)
        worker = Worker(
            database,
            doorbell,
            {INBOUND: InboundHandler()},
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_interval_ms / 1000,
            stamper=stamper,
        )
        upkeep = Upkeep(database, doorbell, retention_days=settings.retention_days)
        async with running(stamper.run, upkeep.run, worker.run):
            yield
    finally:
        await database.close()


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncGenerator[None]:
    """A worker in a process of its own, with its own doorbell and listener."""
    url = settings.require_database_url()
    doorbell = Doorbell(url, "chatsync_worker")
    listener = Listener(url, "chatsync_worker", doorbell)
    async with running(doorbell.run, listener.run), working(settings, doorbell):
        yield

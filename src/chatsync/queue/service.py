"""Composes a worker: its pool, its queues, its upkeep."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from chatsync.database import PATIENCE_SECONDS, Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.listener import Listener
from chatsync.events.stamper import Stamper
from chatsync.queue.batches import Batches
from chatsync.queue.enqueue import INBOUND
from chatsync.queue.handlers import InboundHandler
from chatsync.queue.lease import Lease
from chatsync.queue.upkeep import Upkeep
from chatsync.queue.worker import Worker, WorkOff
from chatsync.queue.workplace import Workplace
from chatsync.settings import Settings
from chatsync.supervision import running

# Producers are many, and each has a bell of its own; a worker that has much to do lets it gather,
# too. After a silence a producer rings in the call that commits, and waits for nobody.
PRODUCER_COALESCE_SECONDS = 0.015

Fit: TypeAlias = Callable[[Workplace], Mapping[str, WorkOff]]


@asynccontextmanager
async def working(
    settings: Settings, doorbell: Doorbell, fit: Fit | None = None, *, grace_seconds: float = 0
) -> AsyncGenerator[Workplace]:
    """A worker that hears the doorbell of this process. Raises ConfigError.

    `fit` says what is done with which queue; without it deliveries are processed.
    """
    url = settings.require_database_url()
    database = Database(
        url,
        "chatsync_worker",
        size=settings.pool_size,
        name="chatsync worker",
        patience_seconds=PATIENCE_SECONDS,
    )
    await database.open()
    try:
        poll_seconds = settings.poll_interval_ms / 1000
        stamper = Stamper(database, doorbell, poll_seconds=poll_seconds)
        workplace = Workplace(database, doorbell, stamper, Lease(url))
        queues = (fit or _inbound)(workplace)
        worker = Worker(
            workplace,
            queues,
            batch_size=settings.batch_size,
            poll_seconds=poll_seconds,
        )
        upkeep = Upkeep(
            database,
            doorbell,
            retention_days=settings.retention_days,
            offline_ttl_days=settings.offline_ttl_days,
            queues=queues,
        )
        async with running(stamper.run, upkeep.run, workplace.lease.run, worker.run):
            try:
                yield workplace
            finally:
                if grace_seconds > 0:
                    await worker.drain(grace_seconds)
    finally:
        await database.close()


@asynccontextmanager
async def worker_process(
    settings: Settings, fit: Fit | None = None, *, grace_seconds: float = 0
) -> AsyncGenerator[Workplace]:
    """A worker in a process of its own, with its own doorbell and listener."""
    url = settings.require_database_url()
    doorbell = Doorbell(url, "chatsync_worker")
    listener = Listener(url, "chatsync_worker", doorbell)
    async with (
        running(doorbell.run, listener.run),
        working(settings, doorbell, fit, grace_seconds=grace_seconds) as workplace,
    ):
        yield workplace


@asynccontextmanager
async def enqueuing(settings: Settings) -> AsyncGenerator[tuple[Database, Doorbell]]:
    """What it takes to put messages in line, and no more. Raises ConfigError."""
    url = settings.require_database_url()
    database = Database(
        url,
        "chatsync_worker",
        size=settings.pool_size,
        name="chatsync producer",
        patience_seconds=PATIENCE_SECONDS,
    )
    doorbell = Doorbell(url, "chatsync_worker", coalesce_seconds=PRODUCER_COALESCE_SECONDS)
    await database.open()
    try:
        async with running(doorbell.run):
            yield database, doorbell
    finally:
        await database.close()


def _inbound(workplace: Workplace) -> Mapping[str, WorkOff]:
    return {INBOUND: Batches(InboundHandler(), workplace)}

"""What workers do now and then: free dead workers' work, mend lanes, keep the log's days."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import EVERYTHING
from chatsync.telemetry import metrics

REAP_SECONDS = 1.0  # A dead process's work is to be taken over within two.
SWEEP_EVERY = 10
RETAIN_EVERY = 3600

log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """Runs beside every worker; any number of them agree. `run` it as a task."""

    def __init__(self, database: Database, doorbell: Doorbell, *, retention_days: int) -> None:
        self._database = database
        self._doorbell = doorbell
        self._retention_days = retention_days

    async def run(self) -> None:
        round_number = 0
        while True:
            try:
                await self._reap()
                if round_number % SWEEP_EVERY == 0:
                    await self._sweep()
                if round_number % RETAIN_EVERY == 0:
                    await self._retain()
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.warning("upkeep_failed", error=repr(error))
            round_number += 1
            await asyncio.sleep(REAP_SECONDS)

    async def _reap(self) -> None:
        freed = await self._database.fetch_value("select chatsync.reap()")
        if freed:
            log.warning("work_freed", messages=freed)
            metrics.QUEUE_FREED.inc(freed)
            self._doorbell.ring(EVERYTHING)

    async def _sweep(self) -> None:
        if mended := await self._database.fetch_value("select chatsync.sweep_lanes()"):
            log.info("lanes_swept", lanes=mended)
            self._doorbell.ring(EVERYTHING)

    async def _retain(self) -> None:
        await self._database.fetch_value("select chatsync.prepare_partitions()")
        before = (datetime.now(UTC) - timedelta(days=self._retention_days)).date()
        await self._database.fetch_value("select chatsync.trim_streams(%s)", [before])
        # In a transaction of its own: readers see that events go before they are gone.
        dropped = await self._database.fetch_value("select chatsync.drop_partitions(%s)", [before])
        if dropped:
            log.info("log_trimmed", days=dropped)

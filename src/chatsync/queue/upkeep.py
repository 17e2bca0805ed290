"""What workers do now and then: free dead workers' work, mend lanes, keep days, forget old ones."""

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import psycopg
import structlog

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import EVERYTHING
from chatsync.telemetry import metrics

REAP_SECONDS = 1.0  # A dead process's work is to be taken over within two.
# The server waits for locks for 5 s at most.
ANSWER_SECONDS = 10.0
SWEEP_SECONDS = 10.0
# A sweep looks at all lanes from their beginnings, also where many rows are dead.
SWEEP_SHARE = 50
RETAIN_SECONDS = 3600.0
# A process often begins with a burst, into tables that were empty when the planner looked.
EAGER_SECONDS = 60.0
# Some tens of milliseconds; as long as there is more, a step follows each look at dead processes.
EXPIRE_STEP = 1000
# Providers send again for a week; orphans are kept for a day more.
ORPHAN_MINUTES = 8 * 24 * 60

log = structlog.stdlib.get_logger(__name__)


class Upkeep:
    """Runs beside every worker of `queues`; any number of them agree. `run` it as a task."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        *,
        retention_days: int,
        offline_ttl_days: int = 7,
        queues: Iterable[str] = (),
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._retention_days = retention_days
        self._offline_ttl_days = offline_ttl_days
        self._queues = tuple(queues)

    async def run(self) -> None:
        began_at = sweep_at = expire_at = retain_at = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                await self._raise_low_waters()
                await self._reap()
                if now >= sweep_at or now < began_at + EAGER_SECONDS:
                    await self._database.fetch_value("select chatsync.refresh_statistics()")
                if now >= sweep_at:
                    await self._sweep()
                    took = time.monotonic() - now
                    sweep_at = now + max(SWEEP_SECONDS, SWEEP_SHARE * took)
                if now >= expire_at:
                    is_more = await self._expire()
                    expire_at = now if is_more else now + RETAIN_SECONDS
                # What failed, as retention does while the log is being stamped, is tried again.
                if now >= retain_at:
                    await self._retain()
                    retain_at = now + RETAIN_SECONDS
            except (DatabaseUnavailable, psycopg.Error) as error:
                log.warning("upkeep_failed", error=repr(error))
            await asyncio.sleep(REAP_SECONDS)

    async def _raise_low_waters(self) -> None:
        for name in ("messages", "leases"):
            await self._database.fetch_value(
                "select chatsync.raise_low_water(%s)", [name], patience_seconds=ANSWER_SECONDS
            )
        for queue in self._queues:
            await self._database.fetch_value(
                "select chatsync.raise_front(%s)", [queue], patience_seconds=ANSWER_SECONDS
            )

    async def _reap(self) -> None:
        freed = await self._database.fetch_value(
            "select chatsync.reap()", patience_seconds=ANSWER_SECONDS
        )
        if freed:
            log.warning("work_freed", messages=freed)
            metrics.QUEUE_FREED.inc(freed)
            self._doorbell.ring(EVERYTHING)

    async def _sweep(self) -> None:
        if mended := await self._database.fetch_value("select chatsync.sweep_lanes()"):
            log.info("lanes_swept", lanes=mended)
            self._doorbell.ring(EVERYTHING)
        await self._database.fetch_value("select chatsync.forget_buckets()")
        if joined := await self._database.fetch_value("select chatsync.join_orphans()"):
            log.info("orphans_joined", items=joined)

    async def _expire(self) -> bool:
        """One step; whether there may be more to do."""
        expired: int = await self._database.fetch_value(
            "select chatsync.expire_dead_letters(%s)", [EXPIRE_STEP]
        )
        if expired:
            log.info("dead_letters_expired", messages=expired)
        return expired == EXPIRE_STEP

    async def _retain(self) -> None:
        await self._database.fetch_value("select chatsync.prepare_partitions()")
        before = (datetime.now(UTC) - timedelta(days=self._retention_days)).date()
        await self._database.fetch_value("select chatsync.trim_streams(%s)", [before])
        # In a transaction of its own: readers see that events go before they are gone.
        dropped = await self._database.fetch_value("select chatsync.drop_partitions(%s)", [before])
        if dropped:
            log.info("log_trimmed", days=dropped)
        await self._database.fetch_value("select chatsync.join_orphans(%s)", [ORPHAN_MINUTES])
        await self._database.fetch_value("select chatsync.drop_processed_items()")
        if forgotten := await self._database.fetch_value("select chatsync.forget_inbound()"):
            log.info("inbound_forgotten", rows=forgotten)
        if receipts := await self._database.fetch_value(
            "select chatsync.forget_receipts(%s)", [self._offline_ttl_days]
        ):
            log.info("receipts_forgotten", devices=receipts)
        # An attempt is told as long as what came of it.
        if days := await self._database.fetch_value(
            "select chatsync.drop_history(%s)", [self._retention_days]
        ):
            log.info("history_dropped", days=days)

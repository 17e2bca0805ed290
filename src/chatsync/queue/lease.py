"""A worker's life as others see it: its lease row, its session lock, its heartbeat.

One connection of its own, never pooled: the lock dies with it. When it is lost the worker registers
anew, and what it held under the old id is fenced.
"""

import asyncio
import os
import socket
import time

import psycopg
import structlog

from chatsync.database import Connection, connect

LEASE_SECONDS = 10.0  # What register_worker() and heartbeat() give.
HEARTBEAT_SECONDS = 3.0  # Three of them fit into it.

log = structlog.stdlib.get_logger(__name__)


class Lease:
    """Registers this process as a worker and keeps it registered. `run` it as a task."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._worker_id: int | None = None
        self._is_registered = asyncio.Event()
        self._holds_until = 0.0

    async def worker_id(self) -> int:
        """The id to claim with; waits while there is none."""
        while self._worker_id is None:
            await self._is_registered.wait()
        return self._worker_id

    def holds(self, worker_id: int) -> bool:
        """Whether what was claimed under this id is surely this process's still.

        A process that was stopped for a while finds out before it begins something.
        """
        return worker_id == self._worker_id and time.monotonic() < self._holds_until

    async def run(self) -> None:
        while True:
            try:
                connection = await connect(self._url, "chatsync_worker", name="chatsync lease")
                async with connection:
                    await self._hold(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("lease_lost", error=repr(error))
            self._forget()
            await asyncio.sleep(0.5)

    async def _hold(self, connection: Connection) -> None:
        name = f"{socket.gethostname()}:{os.getpid()}"
        began_at = time.monotonic()
        cursor = await connection.execute("select chatsync.register_worker(%s)", [name])
        row = await cursor.fetchone()
        assert row is not None
        self._worker_id = row[0]
        self._holds_until = began_at + LEASE_SECONDS
        self._is_registered.set()
        log.info("worker_registered", worker_id=self._worker_id)
        try:
            while await self._beat(connection):  # noqa: ASYNC110 - a heartbeat is a clock
                await asyncio.sleep(HEARTBEAT_SECONDS)
            log.warning("lease_lost", error="another worker took this one for dead")
        except asyncio.CancelledError:
            await connection.execute("select chatsync.unregister_worker(%s)", [self._worker_id])
            raise

    async def _beat(self, connection: Connection) -> bool:
        began_at = time.monotonic()
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            cursor = await connection.execute("select chatsync.heartbeat(%s)", [self._worker_id])
            row = await cursor.fetchone()
        if not (row and row[0]):
            return False
        self._holds_until = began_at + LEASE_SECONDS
        return True

    def _forget(self) -> None:
        self._worker_id = None
        self._is_registered.clear()

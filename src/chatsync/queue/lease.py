"""A worker's life as others see it: its lease row, its session lock, its heartbeat.

One connection of its own, never pooled: the lock dies with it. When it is lost the worker registers
anew, and what it held under the old id is fenced. So it is when a claim's answer is lost, since
nobody else would ever give back what was claimed.
"""

import asyncio
import os
import socket
import time
from typing import Any, LiteralString

import psycopg
import structlog

from chatsync.database import Connection, connect
from chatsync.patience import patience

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
        self._is_given_up = asyncio.Event()

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

    def give_up(self, worker_id: int) -> None:
        """Have what is held under this id given back, and register under another one."""
        if worker_id == self._worker_id:
            log.warning("lease_given_up", worker_id=worker_id)
            self._forget()
            self._is_given_up.set()

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
        worker_id = await _ask(connection, "select chatsync.register_worker(%s)", name)
        self._worker_id = worker_id
        self._holds_until = began_at + LEASE_SECONDS
        self._is_given_up.clear()
        self._is_registered.set()
        log.info("worker_registered", worker_id=worker_id)
        try:
            while await self._beat(connection, worker_id):
                if await self._is_given_up_soon():
                    await _ask(connection, "select chatsync.unregister_worker(%s)", worker_id)
                    return
            log.warning("lease_lost", error="another worker took this one for dead")
        except asyncio.CancelledError:
            await _ask(connection, "select chatsync.unregister_worker(%s)", worker_id)
            raise

    async def _beat(self, connection: Connection, worker_id: int) -> bool:
        began_at = time.monotonic()
        if not await _ask(connection, "select chatsync.heartbeat(%s)", worker_id):
            return False
        self._holds_until = began_at + LEASE_SECONDS
        return True

    async def _is_given_up_soon(self) -> bool:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                return await self._is_given_up.wait()
        except TimeoutError:
            return False

    def _forget(self) -> None:
        self._worker_id = None
        self._is_registered.clear()


async def _ask(connection: Connection, call: LiteralString, argument: object) -> Any:
    """What a function answers. Breaks the link when it does not, within a heartbeat."""
    with patience(connection, HEARTBEAT_SECONDS):
        cursor = await connection.execute(call, [argument])
        row = await cursor.fetchone()
    assert row is not None
    return row[0]

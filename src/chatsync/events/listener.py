"""Hears the doorbell: one LISTEN connection per process, in autocommit, never pooled.

A half-open link stays silent for ever, so the listener tests itself: it has the ringer ring for it
and is replaced when it does not hear that. After every LISTEN everybody looks everywhere once.
"""

import asyncio
import random
import uuid

import psycopg
import structlog

from chatsync.database import Role, connect
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import AFTER_SILENCE, CHANNEL, Hint
from chatsync.patience import shut_down
from chatsync.quick import QuickConnection
from chatsync.telemetry import metrics

PROBE_INTERVAL_SECONDS = 5.0
# A healthy round trip takes a millisecond; a stalled disk can hold a commit for seconds.
PROBE_TIMEOUT_SECONDS = 3.0
MAX_BACKOFF_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)


class Listener:
    """Passes every hint on to the doorbell's subscribers. `run` it as a task."""

    def __init__(self, url: str, role: Role, doorbell: Doorbell) -> None:
        self._url = url
        self._role: Role = role
        self._doorbell = doorbell
        # As Python writes JSON, and as PostgreSQL does.
        self._own_marks = (f'"by":"{doorbell.name}"', f'"by" : "{doorbell.name}"')
        self._nonce = ""
        self._heard_probe = asyncio.Event()
        self.is_proven = False

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                connection = await connect(self._url, self._role, name="chatsync listener")
                async with connection:
                    await connection.execute("listen chatsync")
                    failures = 0
                    self._doorbell.hear(AFTER_SILENCE)
                    await self._hear_until_broken(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("listener_lost", error=repr(error))
                metrics.LISTENER_REPLACED.labels("lost").inc()
            self.is_proven = False
            failures += 1
            delay = min(MAX_BACKOFF_SECONDS, 0.1 * 2**failures)
            await asyncio.sleep(random.uniform(0, delay))  # noqa: S311 - jitter, not a secret

    async def _hear_until_broken(self, connection: QuickConnection) -> None:
        prober = asyncio.create_task(self._probe(connection))
        try:
            await connection.hear(self._hear)
        finally:
            prober.cancel()

    def _hear(self, channel: str, payload: str) -> None:
        # Not worth reading: what this process rang it has heard already.
        if channel != CHANNEL or any(mark in payload for mark in self._own_marks):
            return
        hint = Hint.decode(payload)
        if hint.probe is not None:
            if hint.probe == self._nonce:
                self._heard_probe.set()
            return
        self._doorbell.hear(hint)

    async def _probe(self, connection: QuickConnection) -> None:
        while True:
            self._nonce = uuid.uuid4().hex
            self._heard_probe.clear()
            try:
                await self._doorbell.probe(self._nonce)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("probe_failed", error=repr(error))
            else:
                if not await self._is_heard():
                    log.warning("listener_replaced", reason="deaf")
                    metrics.LISTENER_REPLACED.labels("deaf").inc()
                    shut_down(connection)
                    return
                self.is_proven = True
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)

    async def _is_heard(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._heard_probe.wait()
        except TimeoutError:
            return False
        return True

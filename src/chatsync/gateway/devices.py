"""Which sessions here have which devices, and what they acknowledged, written in batches.

A device belongs to the session that connected with it last, on any gateway: the database decides,
and a hint only says where to look. What a killed gateway had not written is delivered again.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Database, Row
from chatsync.errors import DatabaseUnavailable
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.gateway.receipt import Acknowledged, Receipt
from chatsync.gateway.rounds import Rounds
from chatsync.model import Claims, Cursor
from chatsync.telemetry import metrics

FLUSH_SECONDS = 1.0
# How long a takeover may go unnoticed whose hint was lost.
LOOK_SECONDS = 15.0
# A bare "look" may come many times a second.
LEAST_LOOK_SECONDS = 2.0
BATCH = 1000
# What sessions left behind while the database was away; what is over is delivered again.
MAX_WAITING = 20_000

log = structlog.stdlib.get_logger(__name__)


Key: TypeAlias = tuple[str, str, str]


class Holder(Protocol):
    """What is known here of a session's driver."""

    def take_over(self) -> None:
        """End: the device has another session now."""


@dataclass(slots=True, eq=False)
class Held:
    """A device and the session that has it, as far as this process knows."""

    claims: Claims
    device: str
    session_id: str
    receipt: Receipt
    holder: Holder
    is_open: bool = True
    written: tuple[Acknowledged | None, bool] = (None, True)

    @property
    def key(self) -> Key:
        return self.claims.tenant_id, self.claims.user_id, self.device

    @property
    def state(self) -> tuple[Acknowledged | None, bool]:
        return self.receipt.acknowledged, self.is_open

    def document(self) -> dict[str, Any]:
        named: dict[str, Any] = {
            "tenant": self.claims.tenant_id,
            "user": self.claims.user_id,
            "device": self.device,
            "session": self.session_id,
            "isOpen": self.is_open,
        }
        if self.receipt.acknowledged is not None:
            cursor = self.receipt.acknowledged.cursor
            topics = sorted(self.receipt.acknowledged.topics)
            named |= {"epoch": cursor.epoch, "seq": cursor.seq, "topics": topics}
        return named


class Devices:
    """The devices of one process. `run` it as a task."""

    def __init__(
        self, database: Database, doorbell: Doorbell, *, max_events: int, ttl_days: int
    ) -> None:
        self.max_events = max_events
        self._database = database
        self._doorbell = doorbell
        self._ttl_days = ttl_days
        self._held: dict[str, Held] = {}
        self._waiting: dict[str, Held] = {}
        # Of which devices something waits.
        self._unwritten: Counter[Key] = Counter()
        self._takes = Rounds(self._take)
        self._is_urgent = asyncio.Event()
        self._writing = asyncio.Lock()
        self._looked_at = time.monotonic()
        self._look_seconds = LOOK_SECONDS
        doorbell.subscribe(self._hear)

    async def take(self, held: Held) -> Acknowledged | None:
        """Give a device to a session; returns what the device acknowledged, as far as it is kept.

        A session that has it in this process is ended, others are rung for. `leave` it when done.
        Raises DatabaseUnavailable.
        """
        self._held[held.session_id] = held
        if held.key in self._unwritten:
            await self._write()
        epoch, seq, topics, taken_from = await self._takes.ask(held)
        if taken_from in self._held:
            self._lose([taken_from])
        elif taken_from is not None:
            self._doorbell.ring(Hint(sessions=frozenset({taken_from})))
        return None if epoch is None else Acknowledged(Cursor(epoch, seq), frozenset(topics))

    def note(self, held: Held) -> None:
        """Have a session's receipt written with the next batch, if it moved."""
        if held.state != held.written:
            self._wait(held)

    def leave(self, held: Held) -> None:
        """The session ended: its last receipt is written now."""
        held.is_open = False
        self._held.pop(held.session_id, None)
        if len(self._waiting) < MAX_WAITING:
            self._wait(held)
        self._is_urgent.set()

    async def run(self) -> None:
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_SECONDS):
                        await self._is_urgent.wait()
                self._is_urgent.clear()
                try:
                    await self._write()
                    if time.monotonic() - self._looked_at >= self._look_seconds:
                        await self._look(list(self._held.values()))
                except (DatabaseUnavailable, psycopg.Error) as error:
                    log.warning("receipts_not_written", error=repr(error))
                    await asyncio.sleep(FLUSH_SECONDS)
        finally:
            with contextlib.suppress(DatabaseUnavailable, psycopg.Error):
                await self._write()

    def _hear(self, hint: Hint) -> None:
        if hint.is_everything:
            self._look_seconds = LEAST_LOOK_SECONDS
        elif not hint.sessions.isdisjoint(self._held):
            self._look_seconds = 0.0
            self._is_urgent.set()

    async def _write(self) -> None:
        async with self._writing:
            while self._waiting:
                batch = list(self._waiting.values())[:BATCH]
                states = [held.state for held in batch]
                metrics.RECEIPT_WRITES.inc()
                lost = await self._database.fetch_value(
                    "select chatsync.write_receipts(%s)", [_documents(batch)]
                )
                for held, state in zip(batch, states, strict=True):
                    held.written = state
                    # What moved or ended meanwhile is written with the next batch.
                    if held.state == state:
                        self._forget(held)
                self._lose(lost)

    def _wait(self, held: Held) -> None:
        if held.session_id not in self._waiting:
            self._unwritten[held.key] += 1
        self._waiting[held.session_id] = held

    def _forget(self, held: Held) -> None:
        if self._waiting.pop(held.session_id, None) is not None:
            self._unwritten[held.key] -= 1
            if not self._unwritten[held.key]:
                del self._unwritten[held.key]

    async def _take(self, held: Sequence[Held]) -> list[Row]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.take_devices(%s, %s)", [_documents(held), self._ttl_days]
            )
            taken = {row[0]: row[1:] for row in await cursor.fetchall()}
        return [taken[each.session_id] for each in held]

    async def _look(self, held: Sequence[Held]) -> None:
        self._looked_at, self._look_seconds = time.monotonic(), LOOK_SECONDS
        for start in range(0, len(held), BATCH):
            some = _documents(held[start : start + BATCH])
            lost = await self._database.fetch_value("select chatsync.lost_devices(%s)", [some])
            self._lose(lost)

    def _lose(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            if (held := self._held.get(session_id)) is not None:
                held.holder.take_over()


def _documents(held: Iterable[Held]) -> Jsonb:
    return Jsonb([each.document() for each in held])

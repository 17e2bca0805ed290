"""Aligned blocks of the log that were read a moment ago, for the many who want the same.

Each is read by one query however many wait for it, and kept for some seconds: sessions that were
dropped at once come back in waves. Bounded in bytes over all tenants. A block that was read while
the log grew in it answers for what it holds and is read again for more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chatsync.model import Event

BLOCK = 256
# Two reads of a block serve the longest return of all sessions that is promised.
KEPT_SECONDS = 10.0
# A hundred tenants with a few hundred events of some hundred bytes each.
KEPT_BYTES = 16 * 1024 * 1024
# What an event costs besides its text: its object, its topics, its place.
EVENT_BYTES = 300


class Key(NamedTuple):
    """Which block: of one life of a tenant's log, the numbers after `number * BLOCK`."""

    tenant_id: str
    epoch: str
    number: int


@dataclass(slots=True)
class _Kept:
    events: Sequence[Event]
    size_bytes: int
    timer: asyncio.TimerHandle


class Blocks:
    """The blocks of one process; `read` reads one from the log, dense and in order."""

    def __init__(
        self,
        read: Callable[[Key], Awaitable[Sequence[Event]]],
        *,
        kept_seconds: float = KEPT_SECONDS,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._read = read
        self._kept_seconds = kept_seconds
        self._kept_bytes = kept_bytes
        self._reading: dict[Key, asyncio.Task[Sequence[Event]]] = {}
        # The one that was wanted longest ago comes first.
        self._kept: dict[Key, _Kept] = {}
        self.held_bytes = 0

    async def after(self, tenant_id: str, epoch: str, after: int, limit: int) -> Sequence[Event]:
        """Up to `limit` events from `after + 1` on without a gap; none where that is not there.

        Raises what reading raises.
        """
        key = Key(tenant_id, epoch, after // BLOCK)
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept[key] = kept
            if found := _from(kept.events, after, limit):
                return found
        is_joining = key in self._reading
        found = _from(await self._fresh(key), after, limit)
        if not found and is_joining:
            # That read may have begun before what is wanted was committed.
            found = _from(await self._fresh(key), after, limit)
        return found

    def forget(self, tenant_id: str, up_to: int | None = None) -> None:
        """Keep nothing of a tenant any more, or nothing of what is up to a number."""
        for key in [key for key in self._kept if key.tenant_id == tenant_id]:
            if up_to is None or key.number * BLOCK < up_to:
                self._drop(key)

    async def _fresh(self, key: Key) -> Sequence[Event]:
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read_and_keep(key))
            task.add_done_callback(lambda done: self._is_read(key, done))
        return await asyncio.shield(task)

    def _is_read(self, key: Key, task: asyncio.Task[Sequence[Event]]) -> None:
        self._reading.pop(key, None)
        # Whoever wanted it may be gone before it fails.
        if not task.cancelled():
            task.exception()

    async def _read_and_keep(self, key: Key) -> Sequence[Event]:
        events = await self._read(key)
        self._drop(key)
        size_bytes = sum(len(event.encoded) + EVENT_BYTES for event in events)
        if events and size_bytes <= self._kept_bytes:
            timer = asyncio.get_running_loop().call_later(self._kept_seconds, self._drop, key)
            self._kept[key] = _Kept(events, size_bytes, timer)
            self.held_bytes += size_bytes
            while self.held_bytes > self._kept_bytes:
                self._drop(next(iter(self._kept)))
        return events

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.timer.cancel()
            self.held_bytes -= kept.size_bytes


def _from(events: Sequence[Event], after: int, limit: int) -> Sequence[Event]:
    if not events or not events[0].seq <= after + 1 <= events[-1].seq:
        return ()
    start = after + 1 - events[0].seq
    return events[start : start + limit]

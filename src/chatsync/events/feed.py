"""The log as sessions read it: per tenant a bounded ring of encoded events, filled from the log.

One query per wake-up serves all tenants that moved. What has left the ring is read from the log in
aligned blocks, each by one query however many sessions want it. Checks that numbers are dense.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from chatsync.database import Database, Link, Row
from chatsync.errors import DatabaseUnavailable, NotFound
from chatsync.events.blocks import BLOCK, Blocks, Key
from chatsync.events.doorbell import Doorbell
from chatsync.events.encoding import encode
from chatsync.events.hint import Hint
from chatsync.events.shared_frames import SharedFrames
from chatsync.events.stamped import followed
from chatsync.model import Cursor, Event
from chatsync.telemetry import metrics, stages

READ_LIMIT = 500
# A read takes milliseconds, all sessions wait for it, and repeating one is harmless.
ANSWER_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)


class Trimmed(Exception):
    """Events that were asked for are no longer in the log."""


class EpochChanged(Exception):
    """The log began another life while it was read."""


@dataclass(slots=True)
class TenantFeed:
    """The newest events of one tenant: those after `tail` up to `head`."""

    tenant_id: str
    epoch: str = ""
    head: int = 0
    tail: int = 0
    trimmed_to: int = 0
    events: list[Event] = field(default_factory=list[Event])
    readers: int = 0
    # Where the log stands is being looked up; it may go on when the last reader has gone.
    refreshing: asyncio.Task[None] | None = None
    # What came last, and after which number: what all sessions want that do not lag.
    latest: Sequence[Event] = ()
    latest_after: int = -1
    frames: SharedFrames = field(default_factory=SharedFrames)

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.head)

    def holds(self, after: int) -> bool:
        return after >= self.tail

    def after(self, after: int, limit: int) -> Sequence[Event]:
        start = after - self.tail
        return self.events[start : start + limit]

    def extend(self, events: Sequence[Event], ring_events: int) -> None:
        self.events.extend(events)
        self.latest, self.latest_after = events, self.head
        self.head = events[-1].seq
        self.frames.clear()
        # Cut in whole halves: a cut moves everything that stays.
        if len(self.events) > ring_events + ring_events // 2:
            surplus = len(self.events) - ring_events
            del self.events[:surplus]
            self.tail += surplus

    def restart(self, epoch: str, head: int) -> None:
        self.epoch, self.head, self.tail = epoch, head, head
        self.latest, self.latest_after = (), -1
        self.events.clear()
        self.frames.clear()


class Feed:
    """The feeds of all tenants with sessions here. `run` it as a task."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        *,
        ring_events: int,
        poll_seconds: float,
        on_advance: Callable[[str], None],
    ) -> None:
        self._database = database
        self._link = database.link(ANSWER_SECONDS)
        self._ring_events = ring_events
        self._poll_seconds = poll_seconds
        self._on_advance = on_advance
        self._feeds: dict[str, TenantFeed] = {}
        self._moved: set[str] = set()
        self._woken = asyncio.Event()
        self._blocks = Blocks(self._read_block)
        self.followed: str | None = None
        doorbell.subscribe(self._hear)

    async def attach(self, tenant_id: str) -> TenantFeed:
        """The feed of a tenant, positioned; `detach` it when done.

        Raises NotFound, DatabaseUnavailable.
        """
        feed = self._feeds.get(tenant_id)
        if feed is None:
            feed = self._feeds[tenant_id] = TenantFeed(tenant_id)
            self.followed = followed(self._feeds)
        feed.readers += 1
        try:
            if not feed.epoch:
                await self.refresh(feed)
        except BaseException:
            self.detach(feed)
            raise
        return feed

    def detach(self, feed: TenantFeed) -> None:
        feed.readers -= 1
        if feed.readers == 0:
            self._feeds.pop(feed.tenant_id, None)
            self.followed = followed(self._feeds)

    def find(self, tenant_id: str) -> TenantFeed | None:
        """The feed of a tenant with readers here."""
        return self._feeds.get(tenant_id)

    async def refresh(self, feed: TenantFeed) -> None:
        """Look where the tenant's log stands now; callers at the same time share one query."""
        if feed.refreshing is None or feed.refreshing.done():
            feed.refreshing = asyncio.create_task(self._refresh(feed))
        await asyncio.shield(feed.refreshing)

    async def page(self, feed: TenantFeed, after: int, limit: int) -> Sequence[Event]:
        """Up to `limit` events after a number, in order; none at the head.

        Raises Trimmed, EpochChanged, DatabaseUnavailable.
        """
        if feed.holds(after):
            return feed.after(after, limit)
        if after < feed.trimmed_to:
            raise Trimmed
        found = await self._blocks.after(feed.tenant_id, feed.epoch, after, limit)
        if not found:
            raise Trimmed
        return found

    def take(self, events: Mapping[str, list[Row]]) -> None:
        """Take what this process stamped itself; what does not follow on is read instead."""
        for tenant_id, rows in events.items():
            feed = self._feeds.get(tenant_id)
            if feed is None:
                continue
            if feed.epoch == rows[0][1] and rows[0][2] <= feed.head + 1:
                self._append(feed, rows)
            else:
                self._moved.add(tenant_id)
                self._woken.set()

    async def run(self) -> None:
        try:
            await self._follow()
        finally:
            await self._link.close()

    async def _follow(self) -> None:
        polled_at = 0.0
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                # Hints cannot postpone the poll: it alone sees new epochs and lost bells.
                if time.monotonic() - polled_at >= self._poll_seconds:
                    polled_at = time.monotonic()
                    await self._look_everywhere()
                moved, self._moved = self._moved, set()
                await self._catch_up(moved, self._link)
            except DatabaseUnavailable:
                log.warning("feed_paused", reason="the database does not answer")
                await asyncio.sleep(0.2)

    def _hear(self, hint: Hint) -> None:
        self._moved |= (
            self._feeds.keys() if hint.is_everything else hint.tenants & self._feeds.keys()
        )
        if self._moved:
            self._woken.set()

    async def _look_everywhere(self) -> None:
        for row in await self._positions(list(self._feeds)):
            feed = self._feeds.get(row[0])
            if feed is not None and feed.epoch:
                self._compare(feed, row)

    def _compare(self, feed: TenantFeed, row: Row) -> None:
        _, epoch, head, trimmed_to = row
        if trimmed_to > feed.trimmed_to:
            self._blocks.forget(feed.tenant_id, up_to=trimmed_to)
        feed.trimmed_to = trimmed_to
        if epoch != feed.epoch:
            self._begin_epoch(feed, epoch, head)
        elif head > feed.head:
            self._moved.add(feed.tenant_id)

    def _begin_epoch(self, feed: TenantFeed, epoch: str, head: int) -> None:
        log.warning("epoch_changed", head=head)
        feed.restart(epoch, head)
        self._blocks.forget(feed.tenant_id)
        self._on_advance(feed.tenant_id)

    async def _refresh(self, feed: TenantFeed) -> None:
        rows = await self._positions([feed.tenant_id])
        if not rows:
            raise NotFound("unknown tenant")
        if not feed.epoch:
            _, epoch, head, feed.trimmed_to = rows[0]
            feed.restart(epoch, head)
        else:
            self._compare(feed, rows[0])
            await self._catch_up({feed.tenant_id}, self._database)

    async def _positions(self, tenant_ids: Sequence[str]) -> list[Row]:
        if not tenant_ids:
            return []
        metrics.FEED_READS.labels("positions").inc()
        async with self._database.transaction(
            tenant_ids, patience_seconds=ANSWER_SECONDS
        ) as connection:
            cursor = await connection.execute(
                "select * from chatsync.stream_positions(%s)", [list(tenant_ids)]
            )
            return await cursor.fetchall()

    async def _catch_up(self, tenant_ids: Iterable[str], source: Database | Link) -> None:
        behind = [feed for name in tenant_ids if (feed := self._feeds.get(name)) and feed.epoch]
        while behind:
            positions = {feed.tenant_id: feed.head for feed in behind}
            rows = await self._read(source, positions, READ_LIMIT, "wake")
            behind = [feed for feed in behind if self._append(feed, rows.get(feed.tenant_id, []))]

    def _append(self, feed: TenantFeed, rows: list[Row]) -> bool:
        """Add what was read to the ring; true when there may be more."""
        # Another reader may have been here while we waited for the database.
        rows = [row for row in rows if row[2] > feed.head]
        if not rows:
            return False
        if rows[0][1] != feed.epoch or rows[0][2] != feed.head + 1 or not _is_dense(rows):
            # A new life, or a ring that retention overtook: the poll's view decides.
            self._begin_epoch(feed, rows[0][1], rows[-1][2])
            return False
        feed.extend([encode(row) for row in rows], self._ring_events)
        arrived_at = stages.arrived(created_at=rows[0][7], stamped_at=rows[0][8])
        self._on_advance(feed.tenant_id)
        stages.passed_on(arrived_at)
        return len(rows) == READ_LIMIT

    async def _read_block(self, key: Key) -> list[Event]:
        after = {key.tenant_id: key.number * BLOCK}
        read = await self._read(self._database, after, BLOCK, "block")
        rows = read.get(key.tenant_id, [])
        if rows and rows[0][1] != key.epoch:
            raise EpochChanged
        if not _is_dense(rows):
            raise Trimmed
        return [encode(row) for row in rows if row[2] <= (key.number + 1) * BLOCK]

    async def _read(
        self, source: Database | Link, after: dict[str, int], limit: int, reason: str
    ) -> dict[str, list[Row]]:
        metrics.FEED_READS.labels(reason).inc()
        by_tenant: dict[str, list[Row]] = {}
        async with source.connection() as connection:
            cursor = await connection.execute(
                "select * from chatsync.follow_events(%s, %s, %s)",
                [list(after), list(after.values()), limit],
            )
            for row in await cursor.fetchall():
                by_tenant.setdefault(row[0], []).append(row)
        return by_tenant


def _is_dense(rows: Sequence[Row]) -> bool:
    return not rows or rows[-1][2] - rows[0][2] == len(rows) - 1

"""What this gateway process says of its sessions, to /metrics and to the other gateways.

Each process keeps a row of figures in the database, in which whoever answers /api/stats finds those
of all the others; its own it counts anew. A process that died is forgotten when its row gets old.
"""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from chatsync.events.feed import Feed
from chatsync.gateway.hub import Hub
from chatsync.gateway.outgoing import State
from chatsync.telemetry import metrics

LOOK_SECONDS = 5.0
# What did not change is said again now and then, as a sign of life.
RENEW_SECONDS = 20.0
# Two signs of life may be missed.
FRESH_SECONDS = 50.0
FAREWELL_SECONDS = 0.5

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """Whom one process serves now, and the events it delivered since its start, by tenant."""

    connections: dict[str, int]
    delivered: dict[str, int]

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """What another process said, perhaps one of another version."""
        return cls(document.get("connections", {}), document.get("delivered", {}))

    def document(self) -> dict[str, object]:
        return {"connections": self.connections, "delivered": self.delivered}


class Census:
    """Counts the sessions of this process. `run` it as a task."""

    def __init__(self, database: Database, hub: Hub, feed: Feed) -> None:
        self.node = uuid.uuid4().hex
        self._database = database
        self._hub = hub
        self._feed = feed

    def own(self) -> Figures:
        """The figures of this process, now."""
        return Figures(dict(self._hub.sessions_by_tenant()), dict(self._hub.delivered_by_tenant()))

    async def everywhere(self) -> list[Figures]:
        """Those of all gateway processes, ours first. Raises DatabaseUnavailable."""
        others = await self._database.fetch_value(
            "select chatsync.other_gateways(%s, %s)", [self.node, FRESH_SECONDS]
        )
        return [self.own(), *map(Figures.read, others)]

    def lags(self) -> tuple[int, int, int]:
        """The greatest distances to what was sent and acknowledged; how many are behind."""
        sent, acknowledged, behind = 0, 0, 0
        for member in self._hub.members():
            session = member.session
            feed = session.claims and self._feed.find(session.claims.tenant_id)
            if not feed or session.state is not State.OPEN:
                continue
            lag = feed.head - session.reading.position
            told = session.acknowledgement.told
            sent = max(sent, lag)
            behind += lag > 0
            acknowledged = max(acknowledged, lag if told is None else feed.head - told)
        return sent, acknowledged, behind

    async def run(self) -> None:
        said, said_at = None, 0.0
        try:
            while True:
                self._set_gauges()
                figures, now = self.own(), time.monotonic()
                if figures != said or now >= said_at + RENEW_SECONDS:
                    try:
                        await self._report(figures)
                        said, said_at = figures, now
                    except (DatabaseUnavailable, psycopg.Error) as error:
                        log.warning("figures_not_reported", error=repr(error))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            # It is leaving: whoever answers next is not to count it any more.
            with contextlib.suppress(DatabaseUnavailable, psycopg.Error, TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._report(None)

    def _set_gauges(self) -> None:
        sent, acknowledged, behind = self.lags()
        metrics.CURSOR_LAG.labels("sent").set(sent)
        metrics.CURSOR_LAG.labels("acknowledged").set(acknowledged)
        metrics.SESSIONS_BEHIND.set(behind)

    async def _report(self, figures: Figures | None) -> None:
        document = None if figures is None else Jsonb(figures.document())
        await self._database.fetch_value(
            "select chatsync.report_gateway(%s, %s)", [self.node, document]
        )


def summed(figures: list[Figures]) -> Figures:
    connections, delivered = Counter[str](), Counter[str]()
    for each in figures:
        connections.update(each.connections)
        delivered.update(each.delivered)
    return Figures(dict(connections), dict(delivered))

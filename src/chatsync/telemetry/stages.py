"""Times an event's way: commit, stamp, this gateway, the socket, the acknowledgement.

Stamps are dated by PostgreSQL, arrivals by us: what the clocks differ is in the figures.
"""

import asyncio
import time
from datetime import UTC, datetime

from chatsync.telemetry import metrics


def arrived(*, created_at: datetime, stamped_at: datetime) -> float:
    """Count a read of the log by its first event, which waited longest; returns now, monotonic."""
    now = datetime.now(UTC)
    metrics.COMMIT_TO_STAMP_SECONDS.observe(_seconds(created_at, stamped_at))
    metrics.STAMP_TO_GATEWAY_SECONDS.observe(_seconds(stamped_at, now))
    metrics.COMMIT_TO_GATEWAY_SECONDS.observe(_seconds(created_at, now))
    return time.monotonic()


def passed_on(arrived_at: float) -> None:
    """Count the pass over the sessions that were woken, once for all of them.

    The loop runs in order: it comes to this after everyone who was woken before has written.
    """
    asyncio.get_running_loop().call_soon(_written, arrived_at)


def _written(arrived_at: float) -> None:
    metrics.GATEWAY_TO_WRITE_SECONDS.observe(time.monotonic() - arrived_at)


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())


class AcknowledgementDelay:
    """Times one acknowledgement of a session at a time, from the write that it answers."""

    __slots__ = ("_awaited", "_written_at")

    def __init__(self) -> None:
        self._awaited = 0
        self._written_at: float | None = None

    def written(self, position: int, now: float) -> None:
        """Events up to `position` have left for the client."""
        if self._written_at is None:
            self._awaited, self._written_at = position, now

    def acknowledged(self, position: int, now: float) -> None:
        if self._written_at is not None and position >= self._awaited:
            metrics.WRITE_TO_ACK_SECONDS.observe(max(0.0, now - self._written_at))
            self._written_at = None

    def forget(self) -> None:
        """What was awaited will not be acknowledged."""
        self._written_at = None

"""Which transport to try: a WebSocket, else Server-Sent Events, else long-poll. No clock, no I/O.

A proxy that breaks one of them breaks it every time; a gateway that is away breaks all of them, and
is no reason to change.
"""

import math

from chatsync.client.entries import Transport
from chatsync.client.pace import Pace

STEPS: tuple[Transport, ...] = ("websocket", "sse", "poll")


class Ladder:
    """Steps down after failures in a row, and up to the top again after a while."""

    def __init__(self, pace: Pace) -> None:
        # When to try the top again; a connection that works is left for it.
        self.climb_at = math.inf
        self._pace = pace
        self._step = 0
        self._failures = self._failures_in_all = 0
        self._home: int | None = None

    @property
    def transport(self) -> Transport:
        return STEPS[self._step]

    def climb(self) -> None:
        """Try the top once; if that fails, go back to what worked."""
        self._home, self._step, self._failures = self._step, 0, 0
        self.climb_at = math.inf

    def worked(self, now: float) -> None:
        """The transport made a connection."""
        self._failures = self._failures_in_all = 0
        self._home = None
        if self._step > 0 and self.climb_at == math.inf:
            self._plan(now)

    def failed(self, now: float) -> bool:
        """The transport made no connection; tells whether there is one that may do better."""
        if self._home is not None:
            self._step, self._home = self._home, None
            self._plan(now)
            return True
        self._failures_in_all += 1
        self._failures += 1
        if self._failures >= self._pace.failures_per_transport:
            # From the last one, to the first: perhaps the network is another one by now.
            self._step, self._failures = (self._step + 1) % len(STEPS), 0
            self.climb_at = math.inf
        return self._failures_in_all < len(STEPS) * self._pace.failures_per_transport

    def _plan(self, now: float) -> None:
        seconds = self._pace.retry_websocket_seconds
        self.climb_at = now + self._pace.uniform(seconds, seconds * 1.5)

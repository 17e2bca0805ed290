"""What becomes of the events that a session was sent, each counted once. No I/O but counters.

A client that never acknowledges owes no answer; its events have an outcome of their own, so that
the share of what was acknowledged says something of those that do.
"""

from collections import deque

from chatsync.telemetry import metrics

# A client that lags far behind is counted in larger steps, not in more memory.
MAX_FRAMES = 32


class Deliveries:
    """The events of one session that wait for their acknowledgement."""

    __slots__ = ("_is_used", "_waiting")

    def __init__(self) -> None:
        self._is_used = False
        # Where frames ended, and how many events of theirs were new.
        self._waiting: deque[tuple[int, int]] = deque()

    def sent(self, to: int, events: int) -> None:
        """A frame that ends there brought so many events for the first time."""
        if not events:
            return
        if len(self._waiting) >= MAX_FRAMES:
            _, more = self._waiting.pop()
            events += more
        self._waiting.append((to, events))

    def acknowledge(self, position: int) -> None:
        """Everything up to a position was taken."""
        self._is_used = True
        taken = 0
        while self._waiting and self._waiting[0][0] <= position:
            taken += self._waiting.popleft()[1]
        if taken:
            metrics.DELIVERIES.labels("acknowledged").inc(taken)

    def end(self) -> None:
        """The session ends or begins anew: nobody waits any longer for what is left."""
        if self._waiting:
            outcome = "unacknowledged" if self._is_used else "not_asked"
            metrics.DELIVERIES.labels(outcome).inc(sum(events for _, events in self._waiting))
            self._waiting.clear()

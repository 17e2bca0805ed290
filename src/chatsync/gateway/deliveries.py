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

    __slots__ = ("_is_used", "_late_events", "_late_to", "_waiting")

    def __init__(self) -> None:
        self._is_used = False
        # Where frames ended, and how many events of theirs were new.
        self._waiting: deque[tuple[int, int]] = deque()
        # All frames behind those, as one.
        self._late_to = self._late_events = 0

    def sent(self, mark: tuple[int, int]) -> None:
        """A frame brought events for the first time: where it ends, and how many.

        Sessions that are sent the same may give the same object.
        """
        to, events = mark
        if not events:
            return
        if self._late_events or len(self._waiting) >= MAX_FRAMES:
            self._late_to = to
            self._late_events += events
        else:
            self._waiting.append(mark)

    def acknowledge(self, position: int) -> None:
        """Everything up to a position was taken."""
        self._is_used = True
        taken = 0
        while self._waiting and self._waiting[0][0] <= position:
            taken += self._waiting.popleft()[1]
        if not self._waiting:
            taken += self._take_late(position)
        if taken:
            metrics.DELIVERIES.labels("acknowledged").inc(taken)

    def end(self) -> None:
        """The session ends or begins anew: nobody waits any longer for what is left."""
        if self._waiting:
            outcome = "unacknowledged" if self._is_used else "not_asked"
            left = sum(events for _, events in self._waiting) + self._late_events
            metrics.DELIVERIES.labels(outcome).inc(left)
            self._waiting.clear()
            self._late_events = 0

    def _take_late(self, position: int) -> int:
        events, self._late_events = self._late_events, 0
        if events and self._late_to > position:
            self._waiting.append((self._late_to, events))
            return 0
        return events

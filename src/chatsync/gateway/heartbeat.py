"""When a session beats, and when it has missed too many. No clock of its own; times in seconds."""

import random

MAX_UNANSWERED = 2
POOR_RTT_MS = 300


class Heartbeat:
    """The pings of one session. Any pong shows that the client lives; its own one measures it."""

    def __init__(self, interval: float) -> None:
        self.due_at = 0.0
        self.rtt_ms: int | None = None
        self._interval = interval
        self._number = 0
        self._sent_at = 0.0
        self._unanswered = 0

    @property
    def quality(self) -> str:
        """How well the client is heard: `good` or `poor` (protocol §3)."""
        is_slow = self.rtt_ms is not None and self.rtt_ms >= POOR_RTT_MS
        # A ping that was just sent is not missed yet.
        return "poor" if is_slow or self._unanswered > 1 else "good"

    def begin(self, now: float) -> None:
        # Smeared, so that a thousand sessions of one moment do not beat as one.
        self.due_at = now + self._interval * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def is_missed(self, now: float) -> bool:
        """Whether another ping is due and too many before it were not answered."""
        return now >= self.due_at and self._unanswered >= MAX_UNANSWERED

    def beat(self, now: float) -> int:
        """Count a ping that is being sent; returns its number."""
        self._number += 1
        self._unanswered += 1
        self._sent_at = now
        self.due_at = now + self._interval
        return self._number

    def answer(self, number: object, now: float) -> None:
        self._unanswered = 0
        if self._number and number == self._number:
            self.rtt_ms = round((now - self._sent_at) * 1000)

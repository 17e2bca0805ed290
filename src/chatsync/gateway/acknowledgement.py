"""Whether a client takes what it is sent (protocol §3). No clock of its own; times in seconds.

Only a client that acknowledges at all is held to it. Silence is no proof: a ping asks first, and
only an answer that stands still below what was sent brings the rest again.
"""

import math

from chatsync.telemetry.stages import AcknowledgementDelay

MAX_REDELIVERIES = 3


class Acknowledgement:
    """The acknowledged position of one session, and the timer that watches it."""

    def __init__(self, timeout: float) -> None:
        self.position = 0
        self.due_at = math.inf
        self.redeliveries = 0
        self._timeout = timeout
        self.is_used = False
        # What it was sent has not all left: its client cannot have taken it, and gets no more.
        self.is_held = False
        self._asked_at: int | None = None
        self._delay = AcknowledgementDelay()

    def begin(self, position: int) -> None:
        """Start anew at a position that the client has told, or been given."""
        self._delay.forget()
        self._stand(position)

    def _stand(self, position: int) -> None:
        self.position = position
        self.due_at = math.inf
        self.redeliveries = 0
        self._asked_at = None

    def written(self, sent: int, now: float) -> None:
        """Events up to `sent` have left for the client."""
        if self.is_used and self.position < sent:
            self._delay.written(sent, now)
        self._watch(sent, now)

    def _watch(self, sent: int, now: float) -> None:
        if self.is_used and self.position < sent and self._is_idle():
            self.due_at = now + self._timeout * 2**self.redeliveries

    def acknowledge(self, position: int, sent: int, now: float) -> None:
        """Take a cumulative acknowledgement."""
        self.is_used = True
        self._delay.acknowledged(position, now)
        if position > self.position:
            self._stand(position)
        self._watch(sent, now)

    @property
    def told(self) -> int | None:
        """The acknowledged position of a client that acknowledges."""
        return self.position if self.is_used else None

    def ask(self) -> None:
        """A ping goes out because the timer ran off; its answer decides."""
        self.due_at = math.inf
        self._asked_at = self.position

    def is_refused(self, position: int, sent: int) -> bool:
        """Judge the answer to a ping: whether the client stands still below what was sent.

        While it is held nothing is judged; the next answer after that is.
        """
        if self.is_held:
            return False
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is None or position >= sent or self.position > asked_at:
            return False
        self.redeliveries += 1
        return True

    def _is_idle(self) -> bool:
        return self.due_at == math.inf and self._asked_at is None

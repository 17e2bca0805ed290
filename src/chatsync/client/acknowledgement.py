"""When and what a client acknowledges (protocol §3): what was taken, soon, joined. No own clock."""

import math

from chatsync.client.entries import Frame
from chatsync.client.progress import Progress
from chatsync.model import Cursor


class Acknowledgement:
    """What the server was told on this connection."""

    def __init__(self, progress: Progress, delay_seconds: float) -> None:
        self.due_at = math.inf
        self._progress = progress
        self._delay_seconds = delay_seconds
        self._said = 0

    def begin(self, cursor: Cursor) -> None:
        """A stream begins at a cursor, which the server knows."""
        self._said, self.due_at = cursor.seq, math.inf

    def taken(self, now: float) -> None:
        """The application has taken something."""
        if self.due_at == math.inf:
            self.due_at = now + self._delay_seconds

    def frame(self, *, is_again: bool = False) -> Frame | None:
        """The `ack` to send, if there is anything new to say or it is said again."""
        self.due_at = math.inf
        position = self._progress.acknowledged
        if position is None or (position.seq <= self._said and not is_again):
            return None
        self._said = max(self._said, position.seq)
        return {"type": "ack", "cursor": str(position)}

    def in_pong(self) -> Frame:
        """What a `pong` says of it.

        A position that stands still below what was told would bring the same bytes again, which
        wait in this client: a slow application is no loss. A pong without a position is no answer.
        """
        position, told = self._progress.acknowledged, self._progress.told
        if position is None or told is None or self._said >= position.seq < told.seq:
            return {}
        self._said = max(self._said, position.seq)
        return {"cursor": str(position)}

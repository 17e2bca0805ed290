"""What one session acknowledged, and for which topics that is true. No I/O.

A position is told by the client alone: where a session begins is no receipt, since its client may
still be without the snapshot that belongs to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from chatsync.model import Cursor


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A position that a client took, and the topics that it held up to there."""

    cursor: Cursor
    topics: frozenset[str]


class Receipt:
    """The newest acknowledgement of one session."""

    __slots__ = ("_since", "acknowledged")

    def __init__(self) -> None:
        self.acknowledged: Acknowledged | None = None
        # Where topics were added: what was acknowledged before says nothing of them.
        self._since: dict[str, Cursor] = {}

    def subscribed(self, topics: Iterable[str], cursor: Cursor) -> None:
        """Topics that are live from a position on; what was held before stays as it is."""
        for topic in topics:
            self._since[topic] = cursor

    def acknowledge(self, cursor: Cursor, topics: frozenset[str]) -> None:
        """Take an acknowledgement of this life of the log; an older one moves nothing back."""
        before = self.acknowledged
        if before is not None and before.cursor.epoch == cursor.epoch:
            cursor = max(cursor, before.cursor, key=lambda each: each.seq)
        self._since = {
            topic: since
            for topic, since in self._since.items()
            if topic in topics and since.epoch == cursor.epoch and since.seq > cursor.seq
        }
        held = topics - self._since.keys()
        if before is None or (before.cursor, before.topics) != (cursor, held):
            self.acknowledged = Acknowledged(cursor, held)

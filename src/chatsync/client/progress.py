"""How far the stream has told, and how far the application has taken it (protocol §3, Position).

Told runs ahead of taken by what waits here. Only what was taken is acknowledged and resumed from,
and after a reset nothing is, until the snapshot's last page is in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from chatsync.client.entries import Connected, Entry, Event, SnapshotNeeded
from chatsync.model import Cursor


class Progress:
    """The positions of one client, over all its connections and transports."""

    def __init__(self, cursor: Cursor | None = None) -> None:
        self.told = cursor
        self.taken = cursor
        # Counts the snapshots that were asked for, so that a late one settles none but its own.
        self.snapshots_needed = 0
        self.is_snapshot_due = False
        self._reason = ""
        self._is_forgotten = False
        # The last number that the application was given; it may still be in its hand.
        self._given = 0 if cursor is None else cursor.seq
        self._in_hand: Entry | None = None
        self._waiting: deque[Entry] = deque()
        self._waiting_events = 0

    def __len__(self) -> int:
        """How many entries wait for the application."""
        return len(self._waiting)

    @property
    def resume(self) -> Cursor | None:
        """Where the next connection goes on; None begins anew."""
        return None if self.is_snapshot_due else self.taken

    @property
    def acknowledged(self) -> Cursor | None:
        """What may be acknowledged now: taken, told on this connection, and without holes."""
        if self.is_snapshot_due or self.taken is None or self.told is None:
            return None
        # What was taken while the client was away is beyond what this session was sent.
        return self.taken if self.taken.seq <= self.told.seq else self.told

    def begin(self, cursor: Cursor, reason: str, connected: Connected | None = None) -> None:
        """Start anew at a cursor: what came before is void, and a snapshot is due."""
        self._drop(connected)
        self.told = self.taken = cursor
        self._given = cursor.seq
        self._in_hand = None
        # A client that was sent away knows better why it is new.
        self._need_snapshot(self._reason if self._is_forgotten and reason == "new" else reason)

    def go_on(self, asked: Cursor | None, cursor: Cursor, connected: Connected) -> None:
        """A connection resumes at a cursor; `asked` is what it was asked for."""
        self._drop(connected)
        # Judged from what was asked: a stream that begins later has left something out.
        self.told = asked or cursor
        if self.taken is None or self.taken.epoch != self.told.epoch:
            self.taken, self._given = self.told, self.told.seq
            self._in_hand = None
        if self.is_snapshot_due:
            self._need_snapshot(self._reason)

    def snapshot_taken(self, number: int) -> None:
        """The last page of the snapshot that was needed as `number` is in."""
        if number == self.snapshots_needed:
            self.is_snapshot_due = False

    def forget(self, reason: str) -> None:
        """Drop the position: the next connection begins anew."""
        self.is_snapshot_due, self._reason, self._is_forgotten = True, reason, True
        self.snapshots_needed += 1

    def cover(self, events: Sequence[Event], end: Cursor) -> None:
        """Take a frame up to `end` that leaves no gap; what is known of it is left out."""
        assert self.told is not None
        known = max(self.told.seq, self._given)
        new = [event for event in events if event.seq > known]
        if new:
            # Nothing more is in the frame: with its last event, all of it is taken.
            new[-1] = replace(new[-1], cursor=str(end))
        self._waiting.extend(new)
        self._waiting_events += len(new)
        self.move(end)

    def move(self, told: Cursor) -> None:
        """The stream has told everything up to here."""
        self.told = told
        self._catch_up()

    def append(self, entry: Entry) -> None:
        self._waiting.append(entry)

    def next(self) -> Entry | None:
        """Give the next entry out; the one before counts as taken."""
        taken, self._in_hand = self._in_hand, None
        if isinstance(taken, Event):
            self.taken = Cursor.parse(taken.cursor)
        self._catch_up()
        if not self._waiting:
            return None
        entry = self._in_hand = self._waiting.popleft()
        if isinstance(entry, Event):
            self._waiting_events -= 1
            self._given = entry.seq
        return entry

    def _catch_up(self) -> None:
        """With nothing left to take, all that was told is taken."""
        if self._waiting_events or isinstance(self._in_hand, Event) or self.told is None:
            return
        if self.taken is not None and self.taken.seq < self.told.seq:
            self.taken = self.told

    def _need_snapshot(self, reason: str) -> None:
        assert self.told is not None
        self.is_snapshot_due, self._reason, self._is_forgotten = True, reason, False
        self.snapshots_needed += 1
        self._waiting.append(SnapshotNeeded(reason, str(self.told)))

    def _drop(self, connected: Connected | None) -> None:
        """What waits comes again, or is in the snapshot."""
        self._waiting.clear()
        self._waiting_events = 0
        if connected is not None:
            self._waiting.append(connected)

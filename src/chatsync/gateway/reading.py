"""How far one session has read its tenant's log, and the frames that say so. No I/O.

`position` is how far the log was looked through; `told` is the last position the client knows,
where the next frame begins. Frames that several sessions want alike are encoded once.
"""

from collections.abc import Sequence

from chatsync.gateway import frames
from chatsync.gateway.deliveries import Deliveries
from chatsync.gateway.effects import Start
from chatsync.model import Cursor, Event
from chatsync.telemetry import metrics


class Reading:
    """The reading position of one session."""

    # Looked at for each delivery: in one place, so that it is in the processor's cache at once.
    __slots__ = (
        "_is_redelivery",
        "_owes_last_frame",
        "delivered_to",
        "deliveries",
        "epoch",
        "events_written",
        "position",
        "replay_until",
        "sent",
        "told",
    )

    def __init__(self) -> None:
        self.epoch = ""
        self.position = 0
        self.told = 0
        # What was looked through before a sync went back stays sent: it may be acknowledged.
        self.sent = 0
        # Where the last frame of events ended: what a client is to acknowledge.
        self.delivered_to = 0
        self.replay_until: int | None = None
        self._is_redelivery = False
        self.events_written = 0
        self.deliveries = Deliveries()
        # A client that was told `more` must get a frame without it, even if that holds nothing.
        self._owes_last_frame = False

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.position)

    def begin(self, start: Start) -> None:
        """Read on from a usable cursor, replaying up to the head, or live from the head."""
        self.epoch = start.epoch
        self.sent = self.delivered_to = 0
        self._owes_last_frame = False
        self.deliveries.end()
        self._go_to(start.position if start.reason is None else start.head, start.head)

    def go_back(self, start: Start) -> None:
        """Replay from a former position of the same life, to mend a gap."""
        self._go_to(start.position, start.head)

    def deliver_again(self, after: int) -> None:
        """Repeat what was delivered after a position, as redelivered."""
        self._go_to(after, self.delivered_to)
        self._is_redelivery = True

    def _go_to(self, position: int, head: int) -> None:
        self._is_redelivery = False
        self.position = self.told = position
        self.sent = max(self.sent, position)
        self.replay_until = head if position < head else None

    def advance(
        self,
        found: Sequence[Event],
        to: int,
        topics: frozenset[str],
        encoded: dict[object, bytes],
    ) -> bytes | None:
        """Look through the events in (position, to]; returns the frame to write, if any."""
        if len(found) == 1:
            mine: Sequence[Event] = () if topics.isdisjoint(found[0].topics) else found
        else:
            mine = [event for event in found if not topics.isdisjoint(event.topics)]
        self.events_written += len(mine)
        is_replay = self.replay_until is not None
        has_more = self.replay_until is not None and to < self.replay_until
        before, self.position = self.position, to
        self.sent = max(self.sent, to)
        if not has_more:
            self.replay_until = None
        if not mine and (has_more or not self._owes_last_frame):
            return None
        self._owes_last_frame = has_more
        if is_replay or len(mine) < len(found):
            frame = self._frame(mine, to, encoded, is_replay=is_replay, has_more=has_more)
        else:
            frame = live_frame(encoded, (self.epoch, self.told, before, to), mine)
        self.deliveries.sent((to, self._count_fresh(mine)))
        self.told = to
        self.delivered_to = max(self.delivered_to, to)
        return frame

    def is_level(self, epoch: str, after: int) -> bool:
        """Whether the events after a position are the next to go out, live, and nothing else is."""
        return (
            self.position == after
            and self.epoch == epoch
            and self.replay_until is None
            and not self._owes_last_frame
        )

    def follow(self, mark: tuple[int, int]) -> None:
        """Take a page that this is level with and all of which is wanted.

        `mark` says where it ends, and of how many events it is.
        """
        to, events = mark
        self.events_written += events
        self.deliveries.sent(mark)
        # Nothing was sent or delivered beyond the newest: these are newer.
        self.position = self.told = self.sent = self.delivered_to = to

    def pass_by(self, to: int) -> None:
        """Look through a page that this is level with and none of which is wanted."""
        self.position = self.sent = to

    def _frame(
        self,
        mine: Sequence[Event],
        to: int,
        encoded: dict[object, bytes],
        *,
        is_replay: bool,
        has_more: bool,
    ) -> bytes:
        is_redelivered = is_replay and self._is_redelivery
        if is_redelivered:
            metrics.EVENTS_REDELIVERED.inc(len(mine))
        flags = (is_replay, has_more, is_redelivered)
        key = (self.epoch, self.told, to, flags, tuple([event.seq for event in mine]))
        frame = encoded.get(key)
        if frame is None:
            frame = encoded[key] = frames.events(
                self.epoch,
                self.told,
                to,
                mine,
                is_replay=is_replay and not is_redelivered,
                has_more=has_more,
                is_redelivered=is_redelivered,
            )
        return frame

    def _count_fresh(self, mine: Sequence[Event]) -> int:
        """How many were not delivered before."""
        if not mine or mine[0].seq > self.delivered_to:
            return len(mine)
        return sum(event.seq > self.delivered_to for event in mine)

    def tell(self) -> Cursor:
        """The position for a ping: everything up to it was sent, unless a replay is under way."""
        if self.replay_until is None:
            self.told = self.position
        return Cursor(self.epoch, self.told)


def live_frame(
    encoded: dict[object, bytes], place: tuple[str, int, int, int], mine: Sequence[Event]
) -> bytes:
    """A live page, all of it wanted: what nearly every delivery is.

    `place` is its epoch, what the client was told before, and where the page begins and ends. Two
    who were told as much may have looked through more or less since: a frame is shared by equal
    pages alone.
    """
    frame = encoded.get(place)
    if frame is None:
        epoch, told, _, to = place
        frame = encoded[place] = frames.events(
            epoch, told, to, mine, is_replay=False, has_more=False
        )
    return frame

"""The newest events of a log, looked at once for all sessions that had everything before them.

Nearly every delivery is one of these: what is found here is not found again for each socket.
"""

from chatsync.events.feed import TenantFeed
from chatsync.gateway import pages
from chatsync.gateway.compression import ServerFrame, ServerFrames
from chatsync.gateway.reading import Reading, live_frame
from chatsync.gateway.standing import ACCESS_CHANGED

# Sessions that skipped events differ in what they were told last; each frame may be a page.
KEPT_FRAMES = 16


class Page:
    """The events of one advance of a log."""

    __slots__ = (
        "_after",
        "_common_topics",
        "_epoch",
        "_feed",
        "_frames",
        "_is_whole",
        "_mark",
        "_partial_frames",
        "_to",
        "_topics",
        "events",
    )

    def __init__(self, feed: TenantFeed) -> None:
        events = feed.latest
        self._feed = feed
        # By the position that a client was told last.
        self._frames: dict[int, ServerFrame] = {}
        self._partial_frames = ServerFrames()
        self.events = events
        self._epoch = feed.epoch
        self._after, self._to = feed.latest_after, feed.head
        self._mark = (self._to, len(events))
        topics: list[frozenset[str]] = [event.topics for event in events]
        self._topics: frozenset[str] = frozenset().union(*topics)
        self._common_topics = self._topics.intersection(*topics)
        # Else each session has to look where its part of it ends.
        self._is_whole = (
            bool(events)
            and len(pages.cut(events, pages.SOCKET_BYTES)) == len(events)
            and not any(event.kind == ACCESS_CHANGED for event in events)
        )

    def suits(self, reading: Reading) -> bool:
        """Whether a session can be given the page as it is."""
        return self._is_whole and reading.is_level(self._epoch, self._after)

    def give(self, reading: Reading, topics: frozenset[str]) -> ServerFrame | None:
        """Bring a session on that is level with the page; returns the frame to write, if any."""
        if not topics.isdisjoint(self._common_topics):
            frame = self._frame(reading.told)
            reading.follow(self._mark)
            return frame
        if topics.isdisjoint(self._topics):
            reading.pass_by(self._to)
            return None
        payload = reading.advance(self.events, self._to, topics, self._feed.frames)
        return None if payload is None else self._partial_frames.of(payload)

    def _frame(self, told: int) -> ServerFrame:
        """All of the events, for a client that was told a position last."""
        frame = self._frames.get(told)
        if frame is None:
            if len(self._frames) >= KEPT_FRAMES:
                self._frames.clear()
            payload = live_frame(
                self._feed.frames, (self._epoch, told, self._after, self._to), self.events
            )
            frame = self._frames[told] = ServerFrame(payload)
        return frame

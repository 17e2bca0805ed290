"""Sends away sessions that must begin anew and cannot be told so, since they do not read.

To a session that reads a `reset` is written. One that does not read for so long drops its cursor
when it comes back (protocol §3, 44xx): what it was sent last is no longer true of any log.
"""

import asyncio
import time

from chatsync.events.feed import Feed
from chatsync.gateway.hub import Hub, Member
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode

LOOK_SECONDS = 1.0

_REASONS = {
    CloseCode.EPOCH_CHANGED: "the log began anew, and reset could not be written",
    CloseCode.OUT_OF_RETENTION: "what comes next is no longer kept, and reset could not be written",
}


class Stranded:
    """Knows since when which session is stranded. `run` it as a task."""

    def __init__(self, hub: Hub, feed: Feed, patience_seconds: float) -> None:
        self._hub = hub
        self._feed = feed
        self._patience_seconds = patience_seconds
        self._since: dict[Member, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._patience_seconds))
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look at every session; `now` is a monotonic clock in seconds."""
        found = [(member, code) for member in self._hub.members() if (code := self._why(member))]
        self._since = {member: self._since.get(member, now) for member, _ in found}
        for member, code in found:
            if now - self._since[member] >= self._patience_seconds:
                member.dismiss(code, _REASONS[code])

    def _why(self, member: Member) -> CloseCode | None:
        """The code for a session that is stranded at this moment."""
        session = member.session
        if not member.is_stalled or session.state is not State.OPEN or session.claims is None:
            return None
        feed, reading = self._feed.find(session.claims.tenant_id), session.reading
        if feed is None or not feed.epoch:
            return None
        if reading.epoch != feed.epoch:
            return CloseCode.EPOCH_CHANGED
        if reading.position < feed.trimmed_to and not feed.holds(reading.position):
            return CloseCode.OUT_OF_RETENTION
        return None

"""What one session hears of the others, and the others of it: presence and typing.

Knows nothing of transports: `hold` what it listens to, and write what `take` gives when `wake` was
called. Keeps the newest per topic and user for a session that is slow, and drops the rest silently.
"""

from collections.abc import Callable

from chatsync.errors import DatabaseUnavailable, NotFound, Unavailable
from chatsync.events.hint import Typed
from chatsync.gateway.access import Access
from chatsync.gateway.audience import Audience
from chatsync.gateway.effects import SetStatus, SetTyping
from chatsync.gateway.outgoing import Outgoing
from chatsync.gateway.presence.presence import Presence
from chatsync.gateway.presence.standing import plain_name
from chatsync.gateway.presence.view import View
from chatsync.gateway.typing import Typing
from chatsync.model import Claims
from chatsync.telemetry import metrics

MAX_WAITING = 500
# Conversations of which a session without their topic was found to be allowed to type in them.
MAX_KNOWN = 1000
_EPHEMERAL = ("conversation:", "presence:")


class Company:
    """One session among others."""

    def __init__(
        self,
        session_id: str,
        wake: Callable[[], None],
        *,
        presence: Presence,
        typing: Typing,
        audience: Audience,
    ) -> None:
        self.session_id = session_id
        self._wake = wake
        self._presence = presence
        self._typing = typing
        self._audience = audience
        self._claims: Claims | None = None
        self._topics: frozenset[str] = frozenset()
        self._known: set[str] = set()
        self._frames: dict[tuple[str, str], bytes] = {}
        self._view: View | None = None
        self._changed: set[str] = set()
        self._wants_state = False

    def enter(self, claims: Claims) -> None:
        self._claims = claims
        self._presence.enter(self.session_id, claims)

    def leave(self) -> None:
        if self._claims is not None:
            self.hold(frozenset())
            self._typing.leave(self.session_id)
            self._presence.leave(self.session_id)
            self._claims = None

    def forget(self) -> None:
        """Ask again where it may type: access was judged anew."""
        self._known.clear()

    def hold(self, topics: frozenset[str]) -> None:
        """Listen to these topics from now on; a presence that is new is told as a full list."""
        if topics is self._topics or self._claims is None:
            return
        tenant_id, before = self._claims.tenant_id, self._topics
        self._topics = topics
        for topic in topics - before:
            if topic.startswith(_EPHEMERAL):
                self._audience.join(tenant_id, topic, self)
        for topic in before - topics:
            self._audience.leave(tenant_id, topic, self)
        self._watch(f"presence:{tenant_id}" in topics, tenant_id)

    def mark(self, user_ids: set[str]) -> None:
        self._changed |= user_ids
        self._wake()

    def whisper(self, topic: str, user_id: str, frame: bytes) -> None:
        # The newest comes last, whether or not there was one before.
        self._frames.pop((topic, user_id), None)
        self._frames[topic, user_id] = frame
        if len(self._frames) > MAX_WAITING:
            del self._frames[next(iter(self._frames))]
            metrics.EPHEMERALS_DROPPED.labels("slow").inc()
        self._wake()

    def take(self) -> list[bytes]:
        """What is to be written now. The list and the differences after it are of one view."""
        frames = self._presence_frames()
        frames += [frame for (topic, _), frame in self._frames.items() if topic in self._topics]
        self._frames.clear()
        return frames

    async def carry_out(
        self, effect: SetStatus | SetTyping, session: Outgoing, access: Access
    ) -> None:
        """Do what the client asked for, and answer."""
        if isinstance(effect, SetStatus):
            self._presence.set_status(self.session_id, effect.status)
        elif not await self._may_type(effect.conversation_id, session, access):
            return
        else:
            self._type(effect)
        session.agreed()

    async def _may_type(self, conversation_id: str, session: Outgoing, access: Access) -> bool:
        topic = f"conversation:{conversation_id}"
        if topic in self._topics or topic in self._known or self._claims is None:
            return True
        try:
            denied = await access.refused_topics(self._claims, [topic])
        except DatabaseUnavailable as error:
            session.refused(Unavailable(error.message, retry_after_ms=1000))
            return False
        if denied:
            session.refused(NotFound("unknown conversation"))
            return False
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(topic)
        return True

    def _type(self, effect: SetTyping) -> None:
        if self._claims is not None:
            self._typing.say(
                Typed(
                    self._claims.tenant_id,
                    effect.conversation_id,
                    self._claims.user_id,
                    plain_name(self._claims.name),
                    self.session_id,
                    effect.is_active,
                )
            )

    def _watch(self, wants: bool, tenant_id: str) -> None:
        if wants and self._view is None:
            self._view = self._presence.watch(tenant_id)
            self._wants_state = True
            self._wake()
        elif not wants and self._view is not None:
            self._presence.unwatch(self._view)
            self._view = None
            self._changed.clear()

    def _presence_frames(self) -> list[bytes]:
        view = self._view
        if view is None or not view.is_loaded or not (self._changed or self._wants_state):
            return []
        changed, self._changed = self._changed, set()
        if self._wants_state:
            self._wants_state = False
            return [view.state()]
        return view.differences(changed)

"""Who is typing: debounced, stopped after a silence, and forgotten when nothing more is heard.

Two halves: `say` and `leave` are about sessions of this process and give what is to be relayed;
`hear` is about everybody, as clients are told. No clock, no I/O; times in seconds.
"""

from dataclasses import dataclass, replace

from chatsync.events.hint import Typed

STOP_SECONDS = 3.0
# One start is relayed in so long per session and conversation, and one stop at most for each.
RELAY_SECONDS = 2.0
# A start that was relayed just before the last keystroke must outlive the wait for its stop; and
# with the tick it must end within 6 s of a crash.
TTL_SECONDS = 5.5
# Nobody types in more conversations at once; further ones are not relayed.
MAX_AT_ONCE = 16
MAX_HEARD = 10_000


@dataclass(slots=True)
class _Own:
    """One session in one conversation."""

    start: Typed
    stop_at: float
    relayed_at: float
    is_shown: bool = False


class Typists:
    """All typing that this process knows of."""

    def __init__(self) -> None:
        self._own: dict[str, dict[str, _Own]] = {}
        self._heard: dict[tuple[str, str, str], tuple[float, Typed]] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._heard)

    def say(self, typed: Typed, now: float) -> Typed | None:
        """Take a frame of a session here; returns what is to be relayed, if anything."""
        conversations = self._own.setdefault(typed.session_id, {})
        own = conversations.get(typed.conversation_id)
        relayed: Typed | None = None
        if typed.is_active:
            if own is None and len(conversations) < MAX_AT_ONCE:
                own = _Own(typed, 0.0, now - RELAY_SECONDS)
                conversations[typed.conversation_id] = own
            if own is not None:
                own.stop_at = now + STOP_SECONDS
                relayed = _start(own, now)
        elif own is not None:
            own.stop_at = now
            relayed = _stop(own)
        if not conversations:
            del self._own[typed.session_id]
        return relayed

    def leave(self, session_id: str) -> list[Typed]:
        """The session ended; returns the stops to relay."""
        conversations = self._own.pop(session_id, {})
        return [stop for own in conversations.values() if (stop := _stop(own))]

    def hear(self, typed: Typed, now: float) -> bool:
        """Take what was relayed; returns whether clients are to be told."""
        key = (typed.tenant_id, typed.conversation_id, typed.user_id)
        if not typed.is_active:
            return self._heard.pop(key, None) is not None
        if len(self._heard) >= MAX_HEARD and key not in self._heard:
            return False
        self._heard[key] = (now + TTL_SECONDS, typed)
        return True

    def tick(self, now: float) -> tuple[list[Typed], list[Typed]]:
        """Let time pass; returns what to relay, and what to tell clients of only here."""
        relayed: list[Typed] = []
        for session_id, conversations in list(self._own.items()):
            for conversation_id, own in list(conversations.items()):
                is_over = own.stop_at <= now
                change = _stop(own) if is_over else None if own.is_shown else _start(own, now)
                if change is not None:
                    relayed.append(change)
                if is_over and now - own.relayed_at >= RELAY_SECONDS:
                    del conversations[conversation_id]
            if not conversations:
                del self._own[session_id]
        silent = [key for key, (until, _) in self._heard.items() if until <= now]
        return relayed, [replace(self._heard.pop(key)[1], is_active=False) for key in silent]


def _start(own: _Own, now: float) -> Typed | None:
    if now - own.relayed_at < RELAY_SECONDS:
        return None
    own.relayed_at, own.is_shown = now, True
    return own.start


def _stop(own: _Own) -> Typed | None:
    if not own.is_shown:
        return None
    own.is_shown = False
    return replace(own.start, is_active=False)

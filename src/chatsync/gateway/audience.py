"""Who hears a topic in this process, for what is ephemeral. No sockets, no awaits."""

from collections.abc import Iterable
from typing import Protocol


class Listener(Protocol):
    """What the audience knows of whoever listens."""

    @property
    def session_id(self) -> str: ...

    def mark(self, user_ids: set[str]) -> None:
        """The presence of these users changed."""
        ...

    def whisper(self, topic: str, user_id: str, frame: bytes) -> None:
        """Keep a frame to write soon; a newer one of the same topic and user replaces it."""
        ...


class Audience:
    """Listeners by tenant and topic."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, str], set[Listener]] = {}

    def join(self, tenant_id: str, topic: str, listener: Listener) -> None:
        self._listeners.setdefault((tenant_id, topic), set()).add(listener)

    def leave(self, tenant_id: str, topic: str, listener: Listener) -> None:
        listeners = self._listeners.get((tenant_id, topic), set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop((tenant_id, topic), None)

    def of(self, tenant_id: str, topic: str) -> Iterable[Listener]:
        return self._listeners.get((tenant_id, topic), ())

"""What a session says: effects in order, answers to its request, and nothing after its close."""

from collections.abc import Iterable
from enum import Enum, auto

from chatsync.errors import RequestError
from chatsync.gateway import frames
from chatsync.gateway.effects import Close, Effect, Write
from chatsync.gateway.frames import RequestId
from chatsync.gateway.sight import Sight
from chatsync.model import CloseCode


class State(Enum):
    NEW = auto()
    CONNECTING = auto()
    OPEN = auto()
    CLOSED = auto()


class Outgoing:
    """The outgoing half of a session: its state, its effects, the id that is to be echoed."""

    def __init__(self) -> None:
        self.state = State.NEW
        # What of the log may be said to its user.
        self.sight = Sight()
        self._effects: list[Effect] = []
        self._request: RequestId | None = None

    def effects(self) -> list[Effect]:
        """Take what is to be done now, in order."""
        effects, self._effects = self._effects, []
        return effects

    def refused(self, error: RequestError, code: CloseCode | None = None) -> None:
        """Answer the last frame with an error, and close where a code is given."""
        self._write(frames.error(self._request, error))
        if code is not None:
            self.close(code, error.message)

    def agreed(self) -> None:
        """Answer the last frame, which asked for nothing but that something be done."""
        self._reply({})

    def whisper(self, frames: Iterable[bytes]) -> None:
        """Say what is ephemeral: no position moves by it."""
        for frame in frames:
            self._write(frame)

    def close(self, code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None) -> None:
        if self.state is State.CLOSED:
            return
        self._write(frames.closing(code, reason, retry_ms))
        self._ask(Close(code, reason))
        self.state = State.CLOSED

    def _ask(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _reply(self, data: object) -> None:
        if self._request is not None:
            self._write(frames.reply(self._request, data))

    def _write(self, frame: bytes) -> None:
        # What the driver was asked before a close may be answered after it.
        if self.state is not State.CLOSED:
            self._effects.append(Write(frame))

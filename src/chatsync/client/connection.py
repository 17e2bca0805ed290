"""The state of a client's present connection, whatever its transport, and what it asks to be done.

Part of the state machine of `protocol.py`: no I/O, no clock of its own.
"""

import math
from enum import Enum, auto

from chatsync.client.effects import Answer, Effect, Leave, Send
from chatsync.client.entries import Frame, Transport
from chatsync.client.pace import Pace
from chatsync.client.reconnect import Ending


class State(Enum):
    OFFLINE = auto()
    CONNECTING = auto()
    OPEN = auto()
    LEAVING = auto()


class Connection:
    """One connection after the other."""

    def __init__(self, pace: Pace) -> None:
        self.state = State.OFFLINE
        self.transport: Transport = "websocket"
        self.connect_by = math.inf
        self._pace = pace
        self._effects: list[Effect] = []
        self._opened_at = math.inf
        self._ending: Ending | None = None

    @property
    def can_send(self) -> bool:
        """Whether a frame that is said now is heard: SSE and long-poll have no way up."""
        return self.state is State.OPEN and self.transport == "websocket"

    def begin(self, transport: Transport, now: float) -> None:
        self.state, self.transport = State.CONNECTING, transport
        self.connect_by = now + self._pace.connect_seconds
        self._opened_at, self._ending = math.inf, None

    def opened(self, now: float) -> None:
        self.state, self._opened_at = State.OPEN, now

    def end(self, ending: Ending, now: float) -> Ending:
        """The connection is gone; returns why: `closing` and this side's leave know better."""
        why = self._ending or ending
        was_open = self._opened_at < math.inf
        self.state = State.OFFLINE
        self._effects = [effect for effect in self._effects if isinstance(effect, Answer)]
        return Ending(
            why.code,
            why.reason,
            why.window,
            is_planned=why.is_planned,
            was_open=was_open,
            was_stable=was_open and now - self._opened_at >= self._pace.stable_seconds,
        )

    def leave(self, ending: Ending) -> None:
        """End the connection from this side."""
        if self.state in {State.CONNECTING, State.OPEN}:
            self.state, self._ending = State.LEAVING, self._ending or ending
            self._effects.append(Leave())

    def announce(self, ending: Ending) -> None:
        """The server said `closing`: the end is near, and this is why."""
        self._ending = ending

    def do(self, *effects: Effect) -> None:
        self._effects += effects

    def say(self, frame: Frame) -> None:
        self._effects.append(Send(frame))

    def effects(self) -> list[Effect]:
        """What there is to do, in order; each is handed out once."""
        effects, self._effects = self._effects, []
        return effects

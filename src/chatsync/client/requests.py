"""Requests that wait for their answers, also over a reconnect. No clock of its own.

What is idempotent is sent again until it is answered; of the rest nobody can say what became of it.
"""

import json
import math
from dataclasses import dataclass

from chatsync import errors
from chatsync.client import frames
from chatsync.client.effects import Answer, Send
from chatsync.client.entries import Frame
from chatsync.errors import ChatsyncError, ConnectionLost, RateLimited, RequestError, TooLarge

# What an error says that has no time in it.
RETRY_SECONDS = 1.0
# Until a server has told its own.
FRAME_BYTES = 65_536
FRAMES_PER_SECOND = 50
ID_BYTES = 32

_ERRORS: dict[str, type[RequestError]] = {each.code: each for each in RequestError.__subclasses__()}


@dataclass(slots=True)
class _Waiting:
    frame: Frame
    is_repeatable: bool
    is_sent: bool = False
    # When to send it again, after an error that invites to.
    due_at: float = math.inf


class Requests:
    """The requests of one client; each has a number, which is its `id` on the wire."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frame_bytes = FRAME_BYTES
        self._rate = float(FRAMES_PER_SECOND)
        self._allowed = self._rate
        self._allowed_at = 0.0
        self._last = 0
        self._waiting: dict[int, _Waiting] = {}

    @property
    def due_at(self) -> float:
        """When there is something to send, on an open connection."""
        return min((self._due_at(each) for each in self._waiting.values()), default=math.inf)

    def begin(self, limits: Frame, now: float) -> None:
        """A connection is open, with the server's `limits`."""
        self._frame_bytes = int(frames.optional_number(limits, "frameBytes") or FRAME_BYTES)
        told = frames.optional_number(limits, "framesPerSecond") or FRAMES_PER_SECOND
        # The other half is for acknowledgements, pongs and what is ephemeral.
        self._rate = self._allowed = max(1.0, told / 2)
        self._allowed_at = now

    def number(self) -> int:
        """A number for a frame that the state machine itself wants an answer to."""
        self._last += 1
        return self._last

    def add(self, frame: Frame, *, is_repeatable: bool) -> int:
        """Take a request. Raises RateLimited when too many wait, TooLarge for a long frame."""
        if len(json.dumps(frame)) > self._frame_bytes - ID_BYTES:
            raise TooLarge(f"a frame of more than {self._frame_bytes} bytes")
        if len(self._waiting) >= self._limit:
            raise RateLimited(f"more than {self._limit} requests wait for an answer")
        number = self.number()
        self._waiting[number] = _Waiting({**frame, "id": number}, is_repeatable)
        return number

    def drop(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(number, None)

    def send(self, number: int) -> Send:
        waiting = self._waiting[number]
        waiting.is_sent, waiting.due_at = True, math.inf
        return Send(waiting.frame)

    def send_due(self, now: float) -> list[Send]:
        """In order, and no faster than the server allows: what is unsent, or to be sent again."""
        due: list[Send] = []
        self._allowed += (now - self._allowed_at) * self._rate
        self._allowed, self._allowed_at = min(self._rate, self._allowed), now
        for number, each in self._waiting.items():
            if self._allowed < 1:
                break
            if not each.is_sent or each.due_at <= now:
                due.append(self.send(number))
                self._allowed -= 1
        return due

    def _due_at(self, waiting: _Waiting) -> float:
        if waiting.is_sent and waiting.due_at == math.inf:
            return math.inf
        allowed_at = self._allowed_at + max(0.0, 1 - self._allowed) / self._rate
        return max(allowed_at, waiting.due_at if waiting.is_sent else 0.0)

    def lost(self) -> list[Answer]:
        """The connection is gone: what may be repeated waits for the next one."""
        given_up: list[Answer] = []
        for number, each in list(self._waiting.items()):
            if each.is_sent and not each.is_repeatable:
                given_up.append(_given_up(number, each.frame))
                del self._waiting[number]
            each.is_sent, each.due_at = False, math.inf
        return given_up

    def answered(self, frame: Frame, now: float) -> Answer | None:
        """Take a `reply` or an `error`; None where the request goes on waiting, or nobody does."""
        number = frame.get("id")
        waiting = self._waiting.get(number) if isinstance(number, int) else None
        if waiting is None or not isinstance(number, int):
            return None
        if frame["type"] == "reply":
            data = frame.get("data")
            outcome = frames.object_in(frame, "data") if data is not None else {}
        else:
            outcome = error_of(frame)
            if waiting.is_repeatable and frame.get("retryable") is True:
                waiting.due_at = now + _retry_seconds(frame)
                return None
        del self._waiting[number]
        return Answer(number, waiting.frame, outcome)


def error_of(frame: Frame) -> ChatsyncError:
    """An `error` frame, or a problem document, as the error of our tree that it is."""
    code = frames.text_in(frame, "code")
    message = frame.get("message", frame.get("detail"))
    retry_ms = frames.optional_number(frame, "retryAfterMs")
    data = frame.get("data")
    return _ERRORS.get(code, errors.BadRequest)(
        message if isinstance(message, str) else code,
        retry_after_ms=None if retry_ms is None else int(retry_ms),
        data=frames.object_in(frame, "data") if data is not None else None,
    )


def _given_up(number: int, request: Frame) -> Answer:
    return Answer(number, request, ConnectionLost("the connection was lost before the answer"))


def _retry_seconds(frame: Frame) -> float:
    milliseconds = frames.optional_number(frame, "retryAfterMs")
    return RETRY_SECONDS if milliseconds is None else milliseconds / 1000

"""Requests that wait for their answers, also over a reconnect. No clock of its own.

What is idempotent is sent again until it is answered; of the rest nobody can say what became of it.
"""

import math
from dataclasses import dataclass

from chatsync import errors
from chatsync.client import frames
from chatsync.client.effects import Answer, Send
from chatsync.client.entries import Frame
from chatsync.errors import ChatsyncError, ConnectionLost, RateLimited, RequestError

# What an error says that has no time in it.
RETRY_SECONDS = 1.0

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
        self._last = 0
        self._waiting: dict[int, _Waiting] = {}

    @property
    def due_at(self) -> float:
        return min((each.due_at for each in self._waiting.values()), default=math.inf)

    def number(self) -> int:
        """A number for a frame that the state machine itself wants an answer to."""
        self._last += 1
        return self._last

    def add(self, frame: Frame, *, is_repeatable: bool) -> int:
        """Take a request. Raises RateLimited when too many wait."""
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

    def send_unsent(self) -> list[Send]:
        """On a new connection: all that has no answer, in order."""
        return [self.send(number) for number, each in self._waiting.items() if not each.is_sent]

    def send_due(self, now: float) -> list[Send]:
        return [self.send(number) for number, each in self._waiting.items() if each.due_at <= now]

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

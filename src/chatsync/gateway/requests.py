"""What a client may ask, typed: a frame becomes one of these, or an error names the field."""

from dataclasses import dataclass
from typing import TypeAlias

from chatsync.errors import BadRequest, Invalid
from chatsync.gateway import frames
from chatsync.gateway.frames import Frame
from chatsync.model import Cursor

DEFAULT_TOPICS = ("tenant", "user")


@dataclass(frozen=True, slots=True)
class Connect:
    token: str | None
    cursor: Cursor | None
    topics: tuple[str, ...]
    device: str | None


@dataclass(frozen=True, slots=True)
class Subscribe:
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Ping:
    n: object


@dataclass(frozen=True, slots=True)
class Pong:
    n: object
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class Sync:
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class RefreshToken:
    token: str


Request: TypeAlias = Connect | Subscribe | Unsubscribe | Ack | Ping | Pong | Sync | RefreshToken


def parse(frame: Frame) -> Request:
    """Read a frame's fields. Raises BadRequest, BadCursor or Invalid."""
    match frame["type"]:
        case "connect":
            # In this order: a session is refused for its token before anything else.
            token = frames.text(frame, "token")
            topics = tuple(frames.topics(frame, DEFAULT_TOPICS))
            return Connect(token, _optional_cursor(frame), topics, frames.name(frame, "device"))
        case "subscribe":
            return Subscribe(tuple(frames.topics(frame)))
        case "unsubscribe":
            return Unsubscribe(tuple(frames.topics(frame)))
        case "ack":
            return Ack(Cursor.parse(frame.get("cursor")))
        case "ping":
            return Ping(frame.get("n"))
        case "pong":
            return Pong(frame.get("n"), _optional_cursor(frame))
        case "sync":
            return Sync(Cursor.parse(frame.get("cursor")))
        case "refresh":
            token = frames.text(frame, "token")
            if token is None:
                raise Invalid("token must be a string")
            return RefreshToken(token)
        case _:
            raise BadRequest("unknown frame type")


def _optional_cursor(frame: Frame) -> Cursor | None:
    value = frame.get("cursor")
    return None if value is None else Cursor.parse(value)

"""What a client may ask, typed: a frame becomes one of these, or an error names the field."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from chatsync.errors import BadRequest, Invalid, NotFound
from chatsync.gateway import frames
from chatsync.gateway.effects import SetStatus, SetTyping
from chatsync.gateway.frames import Frame
from chatsync.gateway.presence.standing import STATUSES
from chatsync.model import Cursor

DEFAULT_TOPICS = ("tenant", "user")
_CONVERSATION_ID = re.compile("[0-9]{1,18}", re.ASCII)


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


Request: TypeAlias = (
    Connect
    | Subscribe
    | Unsubscribe
    | Ack
    | Ping
    | Pong
    | Sync
    | RefreshToken
    | SetStatus
    | SetTyping
)


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
        case "presence":
            return _status(frame)
        case "typing":
            return _typing(frame)
        case _:
            raise BadRequest("unknown frame type")


def _status(frame: Frame) -> SetStatus:
    status = frames.text(frame, "status")
    if status not in STATUSES:
        raise Invalid(f"status must be one of {', '.join(STATUSES)}")
    return SetStatus(status)


def _typing(frame: Frame) -> SetTyping:
    conversation_id, is_active = frames.text(frame, "conversationId"), frame.get("active")
    if conversation_id is None:
        raise Invalid("conversationId must be a string")
    if not isinstance(is_active, bool):
        raise Invalid("active must be true or false")
    if _CONVERSATION_ID.fullmatch(conversation_id) is None:
        raise NotFound("unknown conversation")
    return SetTyping(conversation_id, is_active)


def _optional_cursor(frame: Frame) -> Cursor | None:
    value = frame.get("cursor")
    return None if value is None else Cursor.parse(value)

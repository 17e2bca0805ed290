"""The words that every part shares: cursors, events, topics, claims, close codes. No I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from chatsync.errors import BadCursor

_CURSOR = re.compile(r"([0-9A-Za-z_-]{1,64})\.(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a tenant's log: the epoch, one life of the log, and the last number seen."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read `epoch.seq`. Raises BadCursor for anything that no server ever gave out."""
        match = _CURSOR.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise BadCursor("the cursor is malformed")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered event. `encoded` is its JSON object, made once and written to everyone."""

    seq: int
    topics: frozenset[str]
    encoded: bytes
    # Its type.
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """Who holds a token (protocol §1). `expires_at` is in seconds since 1970."""

    tenant_id: str
    user_id: str
    role: str
    name: str | None
    expires_at: float

    def document(self) -> dict[str, str]:
        """What SQL functions are told of whoever asks."""
        return {"tenant": self.tenant_id, "sub": self.user_id, "role": self.role}


# The names that existing deployments use for our topics (protocol §2).
_TOPIC_ALIASES = {"empresa": "tenant", "atendente": "user", "conversa": "conversation"}


def full_topic(topic: str, claims: Claims) -> str:
    """Spell out a short or alias topic as the log names it."""
    match topic:
        case "tenant" | "presence":
            return f"{topic}:{claims.tenant_id}"
        case "user":
            return f"user:{claims.user_id}"
        case _:
            name, colon, rest = topic.partition(":")
            return _TOPIC_ALIASES.get(name, name) + colon + rest


def full_topics(topics: Iterable[str], claims: Claims) -> list[str]:
    """Spell out topics, each once and in order."""
    return list(dict.fromkeys(full_topic(topic, claims) for topic in topics))


class CloseCode(IntEnum):
    """Why the server closes a WebSocket. The range tells the client its next step (protocol §3)."""

    DRAINING = 4100
    REBALANCING = 4101
    OVERLOADED = 4200
    RATE_LIMITED = 4201
    INTERNAL = 4202
    NOT_ACKNOWLEDGING = 4203
    HEARTBEAT_MISSED = 4204
    NO_CONNECT = 4205
    TOKEN_EXPIRED = 4300
    TOKEN_NOT_YET_VALID = 4301
    EPOCH_CHANGED = 4400
    OUT_OF_RETENTION = 4401
    BAD_FRAME = 4500
    UNAUTHORIZED = 4501
    IDENTITY_CHANGED = 4503
    ACCESS_REVOKED = 4504
    VERSION_NOT_SUPPORTED = 4505
    TOO_MANY_SESSIONS = 4506

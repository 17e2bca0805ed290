"""What a client tells its application, in the order of the stream. No logic."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Frame: TypeAlias = dict[str, Any]
Transport: TypeAlias = Literal["websocket", "sse", "poll"]
Quality: TypeAlias = Literal["good", "poor", "disconnected"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the log (protocol §4), told once and in order.

    `cursor` is the position after it: what an application keeps beside what it made of the event.
    `timestamp` is RFC 3339 in UTC.
    """

    seq: int
    type: str
    topics: tuple[str, ...]
    data: Frame
    timestamp: str
    correlation_id: str | None
    cursor: str


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """Presence or typing: true for `ttl_ms` milliseconds at most, where that is given."""

    event: str
    topic: str
    data: Frame
    ttl_ms: int | None


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream begins or goes on. `refused` are the topics that were not granted.

    `recovered` says that nothing between the last position and `cursor` is missing; it is false
    where a SnapshotNeeded follows.
    """

    recovered: bool
    cursor: str
    topics: tuple[str, ...]
    refused: tuple[str, ...]
    transport: Transport
    tenant_id: str | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class SnapshotNeeded:
    """What the application holds may have holes: take a snapshot, which `Client.sync` fetches.

    `reason` is `new`, `trimmed`, `epoch`, `ahead` or `access`; events go on from `cursor`.
    """

    reason: str
    cursor: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended with this close code (protocol §3); the client comes back by itself."""

    code: int
    reason: str
    retry_seconds: float


Entry: TypeAlias = Event | Ephemeral | Connected | SnapshotNeeded | Disconnected


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All pages of GET /api/sync: the state, or what changed since (protocol §5), by entity.

    `cursor` starts a later session; it never moves the stream of this one.
    """

    conversations: list[Frame]
    messages: list[Frame]
    contacts: list[Frame]
    inboxes: list[Frame]
    cursor: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """Topics spelled out, and the position from which they are live."""

    topics: tuple[str, ...]
    cursor: str

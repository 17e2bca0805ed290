"""What passes between a session and its driver: effects out, starts in. No logic."""

from dataclasses import dataclass
from typing import TypeAlias

from chatsync.model import CloseCode, Cursor


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may ask for and how long it may be silent."""

    frame_bytes: int = 65_536
    topics: int = 200
    frames_per_second: int = 50
    sessions_per_user: int = 50
    ping_interval_ms: int = 25_000
    ping_timeout_ms: int = 10_000
    connect_timeout_ms: int = 5_000
    ack_timeout_ms: int = 5_000
    # Told to clients where it is set; the server itself counts no attempts.
    reconnect_max_attempts: int | None = None


# Not frozen: one is made for each delivery, and frozen ones take three times as long to make.
@dataclass(slots=True)
class Write:
    frame: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; its `closing` frame was written before."""

    code: CloseCode
    reason: str


@dataclass(frozen=True, slots=True)
class Open:
    """Check the token, the topics and the cursor; answer with `opened` or `refused`."""

    token: str | None
    cursor: Cursor | None
    topics: tuple[str, ...]
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Authorize:
    """Ask whether these topics may be heard; answer with `authorized` or `refused`."""

    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refresh:
    """Check the new token; answer with `refreshed` or `refused`."""

    token: str


@dataclass(frozen=True, slots=True)
class Locate:
    """Find out whether the log can be read on from a cursor; answer with `located` or `refused`."""

    cursor: Cursor


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Say how available this session is; answer with `agreed`."""

    status: str


@dataclass(frozen=True, slots=True)
class SetTyping:
    """Say that the client types, or stopped; answer with `agreed` or `refused`."""

    conversation_id: str
    is_active: bool


Effect: TypeAlias = Write | Close | Open | Authorize | Refresh | Locate | SetStatus | SetTyping


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins: at a usable cursor, or at the head for the reason given."""

    epoch: str
    position: int
    head: int
    reason: str | None = None
    # Where what was missed is read: nowhere, the ring or the log.
    source: str = "none"

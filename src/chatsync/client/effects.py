"""What the client's state machine asks of its driver. No logic."""

from dataclasses import dataclass
from typing import TypeAlias

from chatsync.client.entries import Frame
from chatsync.errors import ChatsyncError


@dataclass(frozen=True, slots=True)
class Send:
    frame: Frame


@dataclass(frozen=True, slots=True)
class Renew:
    """Get a token and hand it to `refresh`."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the connection from this side, then call `lost`, which knows why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of a request."""

    number: int
    request: Frame
    outcome: Frame | ChatsyncError


Effect: TypeAlias = Send | Renew | Leave | Answer

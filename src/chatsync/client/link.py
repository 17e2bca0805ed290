"""What every transport is to a client: frames in, frames out, and an ending with a reason."""

from collections.abc import AsyncIterator
from typing import Protocol

from chatsync.client.entries import Frame
from chatsync.client.reconnect import Ending


class LinkClosed(Exception):
    """A connection ended, or was not made.

    `is_unreachable` says that no transport would have done better: nobody listens there.
    """

    def __init__(self, ending: Ending, *, is_unreachable: bool = False) -> None:
        super().__init__(f"{ending.code} {ending.reason}".strip())
        self.ending = ending
        self.is_unreachable = is_unreachable


class Link(Protocol):
    """An open connection. Every method raises LinkClosed when it is none any more."""

    async def send(self, frame: Frame) -> Frame | None:
        """Send a frame; returns the answer where it is known at once."""
        ...

    def frames(self) -> AsyncIterator[Frame]:
        """What the server sends, for ever. Raises ProtocolViolation for what cannot be read."""
        ...

"""What stands above a wire: the callbacks by which a socket is driven."""

from typing import Protocol


class Handler(Protocol):
    """What drives an attached wire. No method may raise."""

    @property
    def is_busy(self) -> bool:
        """Whether the next message has to wait; `Wire.feed` brings it later."""
        ...

    def received(self, text: str | None) -> None:
        """Take a message; None stands for a binary one."""
        ...

    def flooded(self) -> None:
        """Learn that the client sends more control frames and fragments than it may."""
        ...

    def drained(self) -> None:
        """Learn that everything written has left, after a time in which it had not."""
        ...

    def lost(self) -> None:
        """Learn that the socket is gone; called once."""
        ...


class _Nobody:
    """Who handles a wire whose handler has learned that it is lost."""

    is_busy = True

    def received(self, text: str | None) -> None: ...

    def flooded(self) -> None: ...

    def drained(self) -> None: ...

    def lost(self) -> None: ...


NOBODY: Handler = _Nobody()

"""What a figure may ask of a side, whichever it is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from side_by_side.subscribers import Dialect


class Side(Protocol):
    """One of the systems that are measured, with a database of its own."""

    @property
    def port(self) -> int:
        """Where it listens for webhooks and subscribers."""
        ...

    def start(self, *, with_worker: bool) -> None:
        """Start all processes; without a worker, what comes stays queued."""
        ...

    def resume(self) -> None:
        """Let a worker take what is queued."""
        ...

    def pause(self) -> None:
        """Stop the worker; returns when it has done what it was doing."""
        ...

    def analyze(self) -> None:
        """Take the statistics that autovacuum would take within its next minute."""
        ...

    def roots(self) -> Mapping[str, int]:
        """The process ids, by name, whose trees are all of this side's servers."""
        ...

    def dialect(self) -> Dialect:
        """How a subscriber speaks to this side."""
        ...

    def facts(self) -> Mapping[str, str]:
        """The versions of its servers, and what they say about their durability."""
        ...

    def queued(self) -> int:
        """How many deliveries are queued."""
        ...

    def stored(self) -> int:
        """How many messages are stored, cheaply."""
        ...

    def finished(self) -> int:
        """How many messages are stored and announced."""
        ...

    def first_stored_at(self, after: int) -> float:
        """When the transaction of the first message but `after` began; seconds since 1970."""
        ...


# Makes a side that keeps its files in a folder; to leave it ends everything it started.
Opener: TypeAlias = Callable[[Path], AbstractContextManager[Side]]

"""What a figure may ask of a side, whichever it is."""

from collections.abc import Mapping
from typing import Protocol

from side_by_side.clients import Dialect


class Side(Protocol):
    """One of the two systems on a database of its own; a context manager."""

    name: str
    port: int

    def start(self, *, with_worker: bool) -> None:
        """Start all processes; without a worker, what comes stays queued."""
        ...

    def resume(self) -> None:
        """Let a worker take what is queued."""
        ...

    def pause(self) -> None:
        """Stop the worker after what it is doing."""
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

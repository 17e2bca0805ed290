"""Whether something is missing before what comes, and the `sync` that asks for it. No own clock."""

import math


class Gap:
    """At most one gap is open at a time: while it is, the stream does not move."""

    def __init__(self, patience_seconds: float) -> None:
        self.is_open = False
        self.repair: int | None = None
        self.give_up_at = math.inf
        self._patience_seconds = patience_seconds

    def ask(self, number: int, now: float) -> None:
        """A `sync` with this number was sent."""
        self.repair, self.give_up_at = number, now + self._patience_seconds

    def close(self) -> None:
        self.is_open, self.repair, self.give_up_at = False, None, math.inf

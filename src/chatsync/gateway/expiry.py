"""When a session's token ends, and when to say that it will. No clock of its own; in seconds."""

WARNING_SECONDS = 60.0


class Expiry:
    """The end of one session's token."""

    def __init__(self) -> None:
        self._ends_at = 0.0
        self._has_warned = False

    def begin(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._has_warned = False

    @property
    def due_at(self) -> float:
        """When there is something to say or to end."""
        return self._ends_at if self._has_warned else self._ends_at - WARNING_SECONDS

    def is_over(self, now: float) -> bool:
        return now >= self._ends_at

    def warning_ms(self, now: float) -> int | None:
        """The milliseconds left, once, when it is time to warn."""
        if self._has_warned or now < self.due_at:
            return None
        self._has_warned = True
        return max(0, round((self._ends_at - now) * 1000))

"""How many frames a client may send: a token bucket. No clock of its own."""

BURST_SECONDS = 2  # A client may send this many seconds' worth of frames at once.


class Allowance:
    """Refills by `per_second` up to a burst of BURST_SECONDS."""

    def __init__(self, per_second: int, now: float) -> None:
        self._per_second = per_second
        self._left = float(per_second * BURST_SECONDS)
        self._counted_at = now

    def take(self, now: float) -> bool:
        """Take one; false when none is left. `now` is a monotonic clock in seconds."""
        refilled = self._left + max(0.0, now - self._counted_at) * self._per_second
        self._left = min(float(self._per_second * BURST_SECONDS), refilled) - 1
        self._counted_at = now
        return self._left >= 0

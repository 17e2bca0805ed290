"""Whether the other side is still there, and how good the line is (protocol §3). No own clock."""

import math

from chatsync.client.entries import Quality

GOOD_MS = 300.0
# Until a server has told its own.
INTERVAL_SECONDS = 25.0
TIMEOUT_SECONDS = 10.0


class Liveness:
    """What was heard, and when; times in seconds."""

    def __init__(self) -> None:
        self.rtt_ms: float | None = None
        self._interval = INTERVAL_SECONDS
        self._timeout = TIMEOUT_SECONDS
        self._heard_at = -math.inf
        self._asked_at: float | None = None

    @property
    def silent_at(self) -> float:
        """When silence means that nobody is there any more."""
        return self._heard_at + self._interval + self._timeout

    def begin(self, now: float, interval: float | None, timeout: float | None) -> None:
        """A connection is open; the server told its heartbeat, or did not."""
        self._interval = INTERVAL_SECONDS if interval is None else interval
        self._timeout = TIMEOUT_SECONDS if timeout is None else timeout
        self._heard_at = now
        self._asked_at = self.rtt_ms = None

    def heard(self, now: float) -> None:
        self._heard_at = now

    def pause(self) -> None:
        """This side does not listen: silence says nothing."""
        self._heard_at = math.inf

    def asked(self, now: float) -> None:
        """A ping of ours went out."""
        self._asked_at = now

    def answered(self, now: float) -> None:
        if self._asked_at is not None:
            self.rtt_ms, self._asked_at = (now - self._asked_at) * 1000, None

    def quality(self, now: float) -> Quality:
        """Good until a beat is late; an unknown round trip is none to complain about."""
        is_late = now > self._heard_at + self._interval
        is_slow = self.rtt_ms is not None and self.rtt_ms >= GOOD_MS
        return "poor" if is_late or is_slow else "good"

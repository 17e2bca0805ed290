"""Limits as plain numbers: what a claim may take of each tenant and key, and of the queue."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Bucket = tuple[str, str, str]


class Claimable(Protocol):
    @property
    def tenant(self) -> str: ...
    @property
    def key(self) -> str | None: ...


@dataclass(frozen=True)
class Limit:
    """So many messages at once or, with seconds, in a time; tenant: an exception for that one."""

    per: str
    amount: int
    tenant: str | None = None
    seconds: float | None = None

    @property
    def kind(self) -> str:
        return "in_flight" if self.seconds is None else "rate"

    @property
    def scope(self) -> tuple[str, str, str | None]:
        return self.kind, self.per, self.tenant

    def bucket(self, message: Claimable) -> Bucket:
        value = {
            "queue": "",
            "tenant": message.tenant,
            "key": f"{message.tenant}/{message.key}",
        }[self.per]
        return self.kind, self.per, value


class LimitModel:
    def __init__(self) -> None:
        self.limits: dict[tuple[str, str, str | None], Limit] = {}
        # Of rates: when all that was let through would have been, one by one.
        self._next_at: dict[Bucket, float] = {}

    def set(self, limit: Limit) -> None:
        self.limits[limit.scope] = limit
        self._next_at.clear()

    def lift(self, limit: Limit) -> None:
        self._next_at.clear()
        del self.limits[limit.scope]

    def has_room(self, message: Claimable, running: Sequence[Claimable], now: float) -> bool:
        return all(self._room(limit, message, running, now) > 0 for limit in self._of(message))

    def take(self, messages: Iterable[Claimable], running: Sequence[Claimable], now: float) -> None:
        """Raises AssertionError for more than there is room for."""
        in_flight = list(running)
        for message in messages:
            assert self.has_room(message, in_flight, now), (message, in_flight, self.limits)
            in_flight.append(message)
            for limit in self._of(message):
                if limit.seconds is not None:
                    bucket = limit.bucket(message)
                    began = max(self._next_at.get(bucket, now), now)
                    self._next_at[bucket] = began + limit.seconds / limit.amount

    def _of(self, message: Claimable) -> list[Limit]:
        """The narrowest limit of each kind that counts this message."""
        found = {
            (limit.kind, limit.per): limit
            for limit in sorted(self.limits.values(), key=lambda limit: limit.tenant is not None)
            if limit.tenant in (None, message.tenant)
            and not (limit.per == "key" and message.key is None)
        }
        return list(found.values())

    def _room(
        self, limit: Limit, message: Claimable, running: Sequence[Claimable], now: float
    ) -> int:
        bucket = limit.bucket(message)
        if limit.seconds is None:
            return limit.amount - sum(limit.bucket(each) == bucket for each in running)
        ahead = max(self._next_at.get(bucket, now) - now, 0.0)
        # A burst of one each time.
        return math.floor(1 - ahead * limit.amount / limit.seconds + 1e-6)

"""How much is measured: in a full run, in a quick one, and of the generator alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONNECTIONS = 128
WARM_UP_MESSAGES = 1_000  # node compiles what is hot, pools open, plans are cached
WARM_UP_SECONDS = 2
REQUESTS_PER_SECOND = 25_000  # what the file of requests holds; no side accepts as many

_FLAT_OUT_MESSAGES = {"chatsync": 10_000, "peer": 5_000, "trivial": 30_000}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What one run sends. A slower side gets fewer messages, for the same time."""

    sockets: int = 10
    flat_out_messages: Mapping[str, int] = field(default_factory=lambda: dict(_FLAT_OUT_MESSAGES))
    latency_rate: float = 100.0
    latency_seconds: float = 15.0
    accept_seconds: int = 10
    drain_messages: int = 20_000
    has_statistics: bool = True
    requests_per_second: int = REQUESTS_PER_SECOND

    @property
    def requests(self) -> int:
        return self.requests_per_second * (WARM_UP_SECONDS + self.accept_seconds)

    @property
    def first_measured(self) -> int:
        """The first request after those of the warm-up."""
        return self.requests_per_second * WARM_UP_SECONDS


@dataclass(frozen=True, slots=True)
class RequestFile:
    """Requests that were written before, each of one length."""

    path: Path
    length: int
    count: int


def full(*, has_statistics: bool) -> Sizes:
    return Sizes(has_statistics=has_statistics)


def quick(*, has_statistics: bool) -> Sizes:
    """Enough to see that all works; too little to compare."""
    return Sizes(
        flat_out_messages={"chatsync": 3_000, "peer": 2_000, "trivial": 10_000},
        latency_seconds=5.0,
        accept_seconds=4,
        drain_messages=5_000,
        has_statistics=has_statistics,
    )


def of_generator() -> Sizes:
    """What a server that does nothing takes in."""
    return Sizes(latency_seconds=5.0, accept_seconds=4, requests_per_second=60_000)

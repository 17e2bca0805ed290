"""How fast a client goes: its times in seconds, its limits, and the chance that spreads clients."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Each default is the protocol's, or says why."""

    # Within which acknowledgements are joined; the server waits for 5 s.
    acknowledge_seconds: float = 0.2
    # For the connection and its `connected`; a proxy that holds frames back has failed by then.
    connect_seconds: float = 10.0
    # A repair that takes longer is given up: resuming brings the same.
    repair_seconds: float = 10.0
    # A connection that ended sooner has not proven that the trouble is over.
    stable_seconds: float = 10.0
    # Failures to establish a transport, before the next one is tried.
    failures_per_transport: int = 3
    # After which a client that fell back tries a WebSocket again.
    retry_websocket_seconds: float = 300.0
    # Connections in a row that come to nothing; None leaves it to the server, and else for ever.
    max_attempts: int | None = None
    # Items that wait for the application before the client stops to read.
    waiting_entries: int = 1_000
    # Requests that wait for their answers, also over a reconnect.
    waiting_requests: int = 1_000
    # Full jitter: a number between two others.
    uniform: Callable[[float, float], float] = random.uniform

"""Moves sessions to gateways that have fewer, when an operator says so with SIGUSR1.

Whoever adds a gateway tells the older ones. Each process that has more sessions than the mean of
all sends the surplus away with 4101, spread in time; nothing moves by itself, since a balancer may
have its reasons.
"""

import asyncio
import random
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from chatsync import supervision
from chatsync.errors import DatabaseUnavailable
from chatsync.gateway.census import Census, summed
from chatsync.gateway.hub import Hub
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode

# Each session that moves costs a handshake and a look-up of its access, on the other gateway.
SESSIONS_PER_SECOND = 200
LEAST_SPREAD_MS = 5_000

log = structlog.stdlib.get_logger(__name__)


async def rebalance(census: Census, hub: Hub) -> int:
    """Send away what is above the mean of all processes; returns how many sessions that is.

    Raises DatabaseUnavailable, and then nobody is sent away.
    """
    figures = await census.everywhere()
    total = sum(summed(figures).connections.values())
    own = [member for member in hub.members() if member.session.state is State.OPEN]
    surplus = max(0, len(own) - -(-total // len(figures)))
    spread_ms = max(LEAST_SPREAD_MS, 1000 * surplus // SESSIONS_PER_SECOND)
    for number, member in enumerate(random.sample(own, surplus)):
        start = spread_ms * number // surplus
        member.dismiss(CloseCode.REBALANCING, "another gateway has room", (start, start + 1000))
    log.info("sessions_rebalanced", surplus=surplus, gateways=len(figures))
    return surplus


@asynccontextmanager
async def rebalancing_on_signal(census: Census, hub: Hub) -> AsyncGenerator[None]:
    """Rebalance whenever SIGUSR1 comes, one time after the other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = asyncio.Event()

    async def serve() -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await rebalance(census, hub)
            except DatabaseUnavailable:
                log.warning("sessions_not_rebalanced", reason="the database does not answer")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, wanted.set)
    try:
        # A signal that something unforeseen spoils is lost, and the next one is served.
        async with supervision.running(serve):
            yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)

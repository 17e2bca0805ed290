"""Passes what is ephemeral to other gateways by the doorbell: coalesced, bounded, never stored.

Typing travels as it is, the newest per session and conversation; of presence only whose rows to
read. What is too much is dropped, since the next change replaces it.
"""

import asyncio
from collections.abc import Iterable

import psycopg
import structlog

from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Typed, in_payloads
from chatsync.telemetry import metrics

# At most ten transactions with NOTIFY a second, however many users type.
COALESCE_SECONDS = 0.1
# Of one transaction; some sixty changes each.
MAX_PAYLOADS = 16
MAX_WAITING = 2000

log = structlog.stdlib.get_logger(__name__)


class Relay:
    """`run` it as a task."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._typing: dict[tuple[str, str], Typed] = {}
        self._presence: set[str] = set()
        self._has_waiting = asyncio.Event()

    def tell_typing(self, typed: Typed) -> None:
        key = (typed.session_id, typed.conversation_id)
        if key not in self._typing and len(self._typing) >= MAX_WAITING:
            metrics.EPHEMERALS_DROPPED.labels("flood").inc()
            return
        self._typing[key] = typed
        self._has_waiting.set()

    def tell_presence(self, tenant_ids: Iterable[str]) -> None:
        self._presence.update(tenant_ids)
        self._has_waiting.set()

    async def run(self) -> None:
        while True:
            await self._has_waiting.wait()
            self._has_waiting.clear()
            typing, self._typing = self._typing, {}
            presence, self._presence = self._presence, set()
            payloads = in_payloads(sorted(presence), list(typing.values()), self._doorbell.name)
            if len(payloads) > MAX_PAYLOADS:
                metrics.EPHEMERALS_DROPPED.labels("flood").inc(len(payloads) - MAX_PAYLOADS)
            try:
                await self._doorbell.send(payloads[:MAX_PAYLOADS])
            except (psycopg.Error, OSError, TimeoutError) as error:
                # Others read presence again when they can hear again, and typing is over by then.
                log.warning("relay_failed", error=repr(error))
            await asyncio.sleep(COALESCE_SECONDS)

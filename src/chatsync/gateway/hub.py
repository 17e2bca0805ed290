"""Which sessions live in this process, and who is to be woken. No sockets, no awaits."""

import sys
from collections import Counter
from collections.abc import Collection
from typing import Literal, Protocol, TypeAlias, TypeVar

from chatsync.errors import RateLimited, Unavailable
from chatsync.gateway.fan_out import FanOut
from chatsync.gateway.session import Session
from chatsync.model import Claims, CloseCode
from chatsync.telemetry import metrics

Transport: TypeAlias = Literal["websocket", "stream"]
_Key = TypeVar("_Key")


class Watcher(Protocol):
    """What wants to know that a tenant's log grew."""

    __slots__ = ()

    def wake(self) -> None: ...


class Member(Watcher, Protocol):
    """What the hub knows of a session's driver."""

    @property
    def transport(self) -> Transport: ...

    @property
    def session(self) -> Session: ...

    @property
    def is_stalled(self) -> bool:
        """Whether its client does not take what it was sent, at this moment."""
        ...

    def drain(self, retry_ms: tuple[int, int]) -> None: ...

    def dismiss(
        self, code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None
    ) -> None:
        """Close the session, whatever its client is doing."""
        ...


class Hub:
    """Sessions by tenant, and the limits on their number."""

    def __init__(
        self,
        *,
        max_sessions: int,
        sessions_per_user: int,
        unauthenticated: int,
        sessions_per_tenant: int = sys.maxsize,
        sessions_per_address: int = sys.maxsize,
    ) -> None:
        self._max_sessions = max_sessions
        self._sessions_per_user = sessions_per_user
        self._sessions_per_tenant = sessions_per_tenant
        self._sessions_per_address = sessions_per_address
        self._max_unauthenticated = unauthenticated
        # With the address of each, where it is known.
        self._everyone: dict[Member, str] = {}
        self._by_tenant: dict[str, set[Watcher]] = {}
        self._by_user: Counter[tuple[str, str]] = Counter()
        self._sessions_by_tenant: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._unauthenticated: Counter[str] = Counter()
        # To sessions that have left.
        self._delivered_before: Counter[str] = Counter()
        self.is_draining = False
        # Events written and not yet counted: one step of the metric for a whole pass.
        self.delivered = 0
        self.fan_out = FanOut()

    def __len__(self) -> int:
        return len(self._everyone)

    def members(self) -> Collection[Member]:
        return self._everyone

    def sessions_by_tenant(self) -> Counter[str]:
        return Counter(self._sessions_by_tenant)

    def delivered_by_tenant(self) -> Counter[str]:
        """Events that were written to sessions since this process began."""
        delivered = Counter(self._delivered_before)
        for member in self._everyone:
            if (claims := member.session.claims) is not None:
                delivered[claims.tenant_id] += member.session.reading.events_written
        return delivered

    def greet(self, member: Member, address: str) -> None:
        """Admit a socket that has not said who it is. Raises Unavailable or RateLimited."""
        self._check_room()
        if self._by_address[address] >= self._sessions_per_address:
            raise RateLimited("too many sockets of one address", retry_after_ms=5000)
        if self._unauthenticated[address] >= self._max_unauthenticated:
            raise RateLimited("too many sockets without a token", retry_after_ms=5000)
        self._everyone[member] = address
        self._by_address[address] += 1
        self._unauthenticated[address] += 1

    def know(self, address: str) -> None:
        """Count a greeted socket as one that said who it is, or that left before."""
        _take_one(self._unauthenticated, address)

    def admit(self, member: Member, claims: Claims) -> None:
        """Greet and join somebody who came with a token. Raises Unavailable or RateLimited."""
        self._check_room()
        self.join(member, claims)
        self._everyone[member] = ""

    def join(self, member: Member, claims: Claims) -> None:
        """Admit a session. Raises RateLimited when its user or its tenant has too many."""
        user = (claims.tenant_id, claims.user_id)
        if self._by_user[user] >= self._sessions_per_user:
            message = f"more than {self._sessions_per_user} sessions of one user"
            raise RateLimited(message, retry_after_ms=5000)
        if self._sessions_by_tenant[claims.tenant_id] >= self._sessions_per_tenant:
            message = f"more than {self._sessions_per_tenant} sessions of one tenant"
            raise RateLimited(message, retry_after_ms=5000)
        self._by_user[user] += 1
        self._sessions_by_tenant[claims.tenant_id] += 1
        self.watch(member, claims.tenant_id)
        metrics.SESSIONS.labels(member.transport).inc()

    def leave(self, member: Member, claims: Claims | None) -> None:
        address = self._everyone.pop(member, None)
        if address:
            _take_one(self._by_address, address)
        if claims is None:
            return
        self.unwatch(member, claims.tenant_id)
        self._delivered_before[claims.tenant_id] += member.session.reading.events_written
        _take_one(self._by_user, (claims.tenant_id, claims.user_id))
        _take_one(self._sessions_by_tenant, claims.tenant_id)
        metrics.SESSIONS.labels(member.transport).dec()

    def watch(self, watcher: Watcher, tenant_id: str) -> None:
        """Have somebody woken that may be no session, until `unwatch`."""
        self._by_tenant.setdefault(tenant_id, set()).add(watcher)

    def unwatch(self, watcher: Watcher, tenant_id: str) -> None:
        watchers = self._by_tenant.get(tenant_id, set())
        watchers.discard(watcher)
        if not watchers:
            self._by_tenant.pop(tenant_id, None)

    def wake(self, tenant_id: str) -> None:
        """Let everyone of a tenant read on, in one pass: nobody in it is waited for."""
        for member in self._by_tenant.get(tenant_id, ()):
            member.wake()
        self.fan_out.flush()
        self.count_delivered()

    def count_delivered(self) -> None:
        if self.delivered:
            metrics.EVENTS_DELIVERED.inc(self.delivered)
            self.delivered = 0

    def drain(self, spread_ms: int = 5000) -> None:
        """Send everyone away, each with a window of its own so that they do not return as one."""
        self.is_draining = True
        members = list(self._everyone)
        for number, member in enumerate(members):
            start = spread_ms * number // max(1, len(members))
            member.drain((start, start + 1000))
        # Who waits without a session answers now, and finds another gateway by itself.
        for tenant_id in list(self._by_tenant):
            self.wake(tenant_id)

    def _check_room(self) -> None:
        if self.is_draining or len(self._everyone) >= self._max_sessions:
            raise Unavailable("no room for another session", retry_after_ms=5000)


def _take_one(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]

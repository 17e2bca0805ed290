"""GET /api/stats and /debug/sessions: who is connected, where, and how well."""

import time
from collections.abc import Mapping
from itertools import islice

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatsync.database import Database
from chatsync.errors import Forbidden
from chatsync.events.feed import Feed
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.census import Census, summed
from chatsync.gateway.http import request as read
from chatsync.gateway.hub import Hub, Member
from chatsync.gateway.outgoing import State

SEES_ALL = frozenset({"admin", "service"})
# Counting reads the whole queue: however many ask, once in so many seconds.
QUEUE_SECONDS = 2.0
# A document of a few megabytes at most.
MOST_SESSIONS = 1000


class Stats:
    """The endpoint /api/stats."""

    def __init__(self, database: Database, authenticator: Authenticator, census: Census) -> None:
        self._database = database
        self._authenticator = authenticator
        self._census = census
        self._counted: dict[str | None, tuple[float, Mapping[str, int]]] = {}

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        tenant_id = None if claims.role in SEES_ALL else claims.tenant_id
        gateways = await self._census.everywhere()
        total = summed(gateways)
        connections, delivered = total.connections, total.delivered
        if tenant_id is not None:
            connections = {tenant_id: connections.get(tenant_id, 0)}
            delivered = {tenant_id: delivered.get(tenant_id, 0)}
        document: dict[str, object] = {
            "totalConnections": sum(connections.values()),
            "connectionsByTenant": connections,
            "delivery": {"eventsDelivered": sum(delivered.values())},
            "queue": await self._queue(tenant_id),
        }
        if tenant_id is None:
            document["gateways"] = len(gateways)
        return JSONResponse(document, headers={"Cache-Control": "no-store"})

    async def _queue(self, tenant_id: str | None) -> Mapping[str, int]:
        now = time.monotonic()
        for key in [key for key, (at, _) in self._counted.items() if at < now - QUEUE_SECONDS]:
            del self._counted[key]
        if tenant_id not in self._counted:
            figures = await self._database.fetch_value(
                "select chatsync.queue_figures(%s)", [tenant_id]
            )
            self._counted[tenant_id] = (now, figures)
        return self._counted[tenant_id][1]


class Sessions:
    """The endpoint /debug/sessions: those of this process."""

    def __init__(self, authenticator: Authenticator, census: Census, hub: Hub, feed: Feed) -> None:
        self._authenticator = authenticator
        self._census = census
        self._hub = hub
        self._feed = feed

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        if claims.role != "admin":
            raise Forbidden("for the role admin")
        limit = read.integer(request, "limit", default=100, least=1, most=MOST_SESSIONS)
        tenant_id = request.query_params.get("tenant")
        user_id = request.query_params.get("user")
        described = (
            document
            for member in self._hub.members()
            if (document := self._describe(member)) is not None
            and tenant_id in (None, document["tenant"])
            and user_id in (None, document["user"])
        )
        return JSONResponse(
            {
                "gateway": self._census.node,
                "total": self._hub.sessions_by_tenant().total(),
                "sessions": list(islice(described, limit)),
            },
            headers={"Cache-Control": "no-store"},
        )

    def _describe(self, member: Member) -> dict[str, object] | None:
        """A session that is open; None for one that is not yet, or no more."""
        session = member.session
        if session.state is not State.OPEN or session.claims is None:
            return None
        claims, told = session.claims, session.acknowledgement.told
        feed = self._feed.find(claims.tenant_id)
        head = session.reading.position if feed is None else feed.head
        return {
            "id": session.session_id,
            "tenant": claims.tenant_id,
            "user": claims.user_id,
            "role": claims.role,
            "transport": member.transport,
            "topics": sorted(session.topics),
            "cursor": str(session.reading.cursor),
            "lag": head - session.reading.position,
            "unacknowledged": None if told is None else session.reading.delivered_to - told,
            "rttMs": session.heartbeat.rtt_ms,
            "quality": session.heartbeat.quality,
        }

"""Who answers which path of a gateway."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from chatsync.errors import DatabaseUnavailable, NotFound
from chatsync.gateway.assembly import Parts
from chatsync.gateway.http.conversations import Conversations
from chatsync.gateway.http.events import Events
from chatsync.gateway.http.health import Health
from chatsync.gateway.http.presence import PresenceList
from chatsync.gateway.http.publishing import Publishing
from chatsync.gateway.http.queue import Queue
from chatsync.gateway.http.stats import Sessions, Stats
from chatsync.gateway.http.stream import EventStream
from chatsync.gateway.http.sync import Sync
from chatsync.gateway.http.ticket import Ticket
from chatsync.gateway.http.webhooks.adoption import Adopt
from chatsync.gateway.http.webhooks.evolution import EvolutionWebhook
from chatsync.gateway.http.webhooks.receiving import Endpoint
from chatsync.gateway.http.webhooks.standard import StandardWebhook
from chatsync.gateway.http.webhooks.whatsapp import WhatsAppWebhook
from chatsync.gateway.websocket import serve
from chatsync.settings import Settings
from chatsync.telemetry.health import Check

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


def routes(settings: Settings, parts: Parts, whatsapp: WhatsAppWebhook) -> list[BaseRoute]:
    """All that the router answers; webhooks are taken before it."""
    shared, authenticator = parts.shared, parts.authenticator
    conversations = Conversations(parts.reads, authenticator)
    health = Health(_checks(parts), settings.metrics_dir)
    return [
        WebSocketRoute("/ws", partial(serve, shared=shared)),
        Route("/webhooks/whatsapp", whatsapp.verify, methods=["GET"]),
        Route("/webhooks/{path:path}", _unknown_webhook, methods=["POST"]),
        Route("/api/conversations", conversations.list),
        Route("/api/conversations/{id}", conversations.get),
        Route("/api/conversations/{id}/messages", conversations.messages),
        Route("/api/sync", Sync(parts.reads, authenticator).get),
        *_event_routes(parts),
        Route("/api/presence", PresenceList(shared.presence, authenticator).get),
        *_watching_routes(parts),
        Route("/livez", health.live),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


def _event_routes(parts: Parts) -> list[Route]:
    shared = parts.shared
    poll = Events(shared.access, shared.authenticator, parts.feed, parts.hub)
    publishing = Publishing(parts.database, shared.authenticator, parts.stamper)
    ticket = Ticket(parts.database, shared.authenticator)
    stream = Route("/api/events/stream", EventStream(shared).get)
    # Starlette would answer a HEAD with a stream that never ends.
    stream.methods = {"GET"}
    return [
        Route("/api/events", _got_or_posted(poll.get, publishing.post), methods=["GET", "POST"]),
        stream,
        Route("/api/ticket", ticket.post, methods=["POST"]),
    ]


def _watching_routes(parts: Parts) -> list[Route]:
    authenticator = parts.authenticator
    stats = Stats(parts.database, authenticator, parts.census)
    sessions = Sessions(authenticator, parts.census, parts.hub, parts.feed)
    return [
        Route("/api/stats", stats.get),
        Route("/api/socket/stats", stats.get),
        Route("/debug/sessions", sessions.get),
        *Queue(parts.database, authenticator).routes(),
    ]


def _got_or_posted(got: Answer, posted: Answer) -> Answer:
    """One route for both, so that the answer to any other method names both."""

    async def answer(request: Request) -> Response:
        return await (posted if request.method == "POST" else got)(request)

    return answer


def endpoints(
    settings: Settings, parts: Parts, adopt: Adopt | None, whatsapp: WhatsAppWebhook
) -> Mapping[str, Endpoint]:
    """Who takes the webhooks of which path; behind a slash, one more segment is taken."""
    evolution = EvolutionWebhook(settings, parts.database, parts.intake, adopt)
    return {
        "/webhooks/whatsapp": whatsapp,
        "/webhooks/evolution": evolution,
        "/webhooks/evolution/": evolution,
        "/webhooks/standard/": StandardWebhook(settings, parts.database, parts.intake, adopt),
    }


def _checks(parts: Parts) -> Mapping[str, Check]:
    async def database() -> str | None:
        try:
            await parts.database.fetch_value("select chatsync.outbox_waiting()")
        except DatabaseUnavailable as error:
            return error.message
        return None

    async def listener() -> str | None:
        return None if parts.listener.is_proven else "not proven yet"

    async def draining() -> str | None:
        return "draining" if parts.hub.is_draining else None

    return {"database": database, "listener": listener, "draining": draining}


async def _unknown_webhook(_: Request) -> Response:
    """A POST that `Webhooks` left; its other methods the router refuses."""
    raise NotFound("no such path")

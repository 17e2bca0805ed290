"""Composes a gateway: its tasks, its routes, its checks.

`create` may be called by uvicorn in each of its worker processes.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from chatsync import settings as settings_module
from chatsync.database import PATIENCE_SECONDS, Database
from chatsync.errors import BadRequest, ChatsyncError, DatabaseUnavailable, NotFound, RequestError
from chatsync.events.doorbell import Doorbell
from chatsync.events.feed import Feed
from chatsync.events.listener import Listener
from chatsync.events.relay import Relay
from chatsync.events.stamper import Stamper
from chatsync.gateway import open_files
from chatsync.gateway.audience import Audience
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.census import Census
from chatsync.gateway.devices import Devices
from chatsync.gateway.effects import Limits
from chatsync.gateway.http.conversations import Conversations
from chatsync.gateway.http.events import Events
from chatsync.gateway.http.health import Health
from chatsync.gateway.http.presence import PresenceList
from chatsync.gateway.http.problems import Problems, classified, correlation_id, problem
from chatsync.gateway.http.publishing import Publishing
from chatsync.gateway.http.queue import Queue
from chatsync.gateway.http.stats import Sessions, Stats
from chatsync.gateway.http.stream import EventStream
from chatsync.gateway.http.sync import Sync
from chatsync.gateway.http.ticket import Ticket
from chatsync.gateway.http.webhooks.adoption import Adopt
from chatsync.gateway.http.webhooks.evolution import EvolutionWebhook
from chatsync.gateway.http.webhooks.receiving import Endpoint, Webhooks
from chatsync.gateway.http.webhooks.standard import StandardWebhook
from chatsync.gateway.http.webhooks.whatsapp import WhatsAppWebhook
from chatsync.gateway.hub import Hub
from chatsync.gateway.presence.presence import Presence
from chatsync.gateway.server import drain_on_signals
from chatsync.gateway.shared import Shared
from chatsync.gateway.typing import Typing
from chatsync.gateway.websocket import serve
from chatsync.queue.enqueue import Intake
from chatsync.queue.service import working
from chatsync.settings import Settings
from chatsync.supervision import running
from chatsync.telemetry import logs
from chatsync.telemetry.health import Check

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a gateway is made of."""

    database: Database
    doorbell: Doorbell
    listener: Listener
    stamper: Stamper
    feed: Feed
    hub: Hub
    census: Census
    intake: Intake
    devices: Devices
    relay: Relay
    audience: Audience
    presence: Presence
    typing: Typing


def create(
    settings: Settings | None = None, *, adopt: Adopt | None = None, with_worker: bool = False
) -> Starlette:
    """The ASGI application. `with_worker` runs a queue worker in the same process."""
    if settings is None:
        settings = settings_module.load()
        logs.configure(log_format=settings.log_format, log_level=settings.log_level)
    parts = _assemble(settings)
    authenticator = Authenticator(settings)
    whatsapp = WhatsAppWebhook(settings, parts.database, parts.intake, adopt)
    endpoints = _endpoints(settings, parts, adopt, whatsapp)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        open_files.make_room(settings.max_sessions)
        await parts.database.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.database.close)
            await stack.enter_async_context(
                running(
                    parts.doorbell.run,
                    parts.listener.run,
                    parts.stamper.run,
                    parts.feed.run,
                    parts.census.run,
                    parts.intake.run,
                    parts.devices.run,
                    parts.relay.run,
                    parts.typing.run,
                    parts.presence.tell,
                    parts.presence.keep,
                )
            )
            if with_worker:
                await stack.enter_async_context(working(settings, parts.doorbell))
            drain_on_signals(parts.hub, settings.drain_seconds)
            yield

    application = Starlette(
        routes=_routes(settings, parts, authenticator, whatsapp),
        lifespan=lifespan,
        middleware=[Middleware(Webhooks, endpoints), Middleware(Problems)],
        exception_handlers={HTTPException: _http_exception, ChatsyncError: _error},
    )
    application.state.hub = parts.hub
    application.state.feed = parts.feed
    return application


def _assemble(settings: Settings) -> _Parts:
    url = settings.require_database_url()
    poll_seconds = settings.poll_interval_ms / 1000
    database = Database(
        url,
        "chatsync_gateway",
        size=settings.pool_size,
        name="chatsync gateway",
        patience_seconds=PATIENCE_SECONDS,
    )
    doorbell = Doorbell(url, "chatsync_gateway")
    hub = Hub(
        max_sessions=settings.max_sessions,
        sessions_per_user=settings.sessions_per_user,
        sessions_per_tenant=settings.sessions_per_tenant,
        sessions_per_address=settings.sessions_per_address,
        unauthenticated=settings.unauthenticated_per_address,
    )
    relay, audience = Relay(doorbell), Audience()
    feed = Feed(
        database,
        doorbell,
        ring_events=settings.ring_events,
        poll_seconds=poll_seconds,
        on_advance=hub.wake,
    )
    return _Parts(
        database=database,
        doorbell=doorbell,
        listener=Listener(url, "chatsync_gateway", doorbell),
        stamper=Stamper(database, doorbell, poll_seconds=poll_seconds, follower=feed),
        feed=feed,
        hub=hub,
        census=Census(database, hub, feed),
        intake=Intake(database, doorbell, max_retries=settings.max_retries),
        devices=Devices(
            database,
            doorbell,
            max_events=settings.offline_max_events,
            ttl_days=settings.offline_ttl_days,
        ),
        relay=relay,
        audience=audience,
        presence=Presence(
            database,
            doorbell,
            relay,
            audience,
            within_seconds=settings.presence_cleanup_interval_ms / 1000,
            grace_seconds=settings.presence_grace_ms / 1000,
        ),
        typing=Typing(doorbell, relay, audience),
    )


def _endpoints(
    settings: Settings, parts: _Parts, adopt: Adopt | None, whatsapp: WhatsAppWebhook
) -> Mapping[str, Endpoint]:
    """Who takes the webhooks of which path; behind a slash, one more segment is taken."""
    evolution = EvolutionWebhook(settings, parts.database, parts.intake, adopt)
    return {
        "/webhooks/whatsapp": whatsapp,
        "/webhooks/evolution": evolution,
        "/webhooks/evolution/": evolution,
        "/webhooks/standard/": StandardWebhook(settings, parts.database, parts.intake, adopt),
    }


def _routes(
    settings: Settings, parts: _Parts, authenticator: Authenticator, whatsapp: WhatsAppWebhook
) -> list[Route | WebSocketRoute]:
    shared = Shared(
        parts.database,
        parts.feed,
        parts.hub,
        authenticator,
        _limits(settings),
        frozenset(settings.allowed_origins),
        parts.devices,
        parts.audience,
        parts.presence,
        parts.typing,
    )
    conversations = Conversations(parts.database, authenticator)
    health = Health(_checks(parts), settings.metrics_dir)
    return [
        WebSocketRoute("/ws", partial(serve, shared=shared)),
        Route("/webhooks/whatsapp", whatsapp.verify, methods=["GET"]),
        Route("/webhooks/{path:path}", _unknown_webhook, methods=["POST"]),
        Route("/api/conversations", conversations.list),
        Route("/api/conversations/{id}", conversations.get),
        Route("/api/conversations/{id}/messages", conversations.messages),
        Route("/api/sync", Sync(parts.database, authenticator).get),
        *_event_routes(parts, shared),
        Route("/api/presence", PresenceList(parts.presence, authenticator).get),
        *_watching_routes(parts, authenticator),
        Route("/livez", health.live),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


def _event_routes(parts: _Parts, shared: Shared) -> list[Route]:
    poll = Events(parts.database, shared.authenticator, parts.feed, parts.hub)
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


def _watching_routes(parts: _Parts, authenticator: Authenticator) -> list[Route]:
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


def _limits(settings: Settings) -> Limits:
    return Limits(
        frame_bytes=settings.frame_bytes,
        topics=settings.topics_per_session,
        frames_per_second=settings.frames_per_second,
        sessions_per_user=settings.sessions_per_user,
        ping_interval_ms=settings.ping_interval_ms,
        ping_timeout_ms=settings.ping_timeout_ms,
        connect_timeout_ms=settings.connect_timeout_ms,
        ack_timeout_ms=settings.ack_timeout_ms,
        reconnect_max_attempts=settings.reconnect_max_attempts,
    )


def _checks(parts: _Parts) -> Mapping[str, Check]:
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


async def _error(request: Request, error: Exception) -> Response:
    return problem(classified(error), correlation_id(request))


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    answer: RequestError = (
        NotFound("no such path") if error.status_code == 404 else BadRequest(error.detail)
    )
    response = problem(answer, correlation_id(request))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response

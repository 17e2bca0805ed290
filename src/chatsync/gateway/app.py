"""Composes a gateway: its tasks, its routes, its checks.

`create` may be called by uvicorn in each of its worker processes.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from chatsync import settings as settings_module
from chatsync.errors import BadRequest, ChatsyncError, NotFound, RequestError
from chatsync.gateway import garbage, open_files
from chatsync.gateway.assembly import Parts, assemble
from chatsync.gateway.http.cross_origin import CrossOrigin
from chatsync.gateway.http.problems import Problems, classified, correlation_id, problem
from chatsync.gateway.http.webhooks.adoption import Adopt
from chatsync.gateway.http.webhooks.receiving import Webhooks
from chatsync.gateway.http.webhooks.whatsapp import WhatsAppWebhook
from chatsync.gateway.rebalancing import rebalancing_on_signal
from chatsync.gateway.routes import endpoints, routes
from chatsync.gateway.server import drain_on_signals
from chatsync.queue.service import working
from chatsync.settings import Settings
from chatsync.supervision import running
from chatsync.telemetry import logs


def create(
    settings: Settings | None = None, *, adopt: Adopt | None = None, with_worker: bool = False
) -> Starlette:
    """The ASGI application. `with_worker` runs a queue worker in the same process."""
    if settings is None:
        settings = settings_module.load()
        logs.configure(log_format=settings.log_format, log_level=settings.log_level)
        # This process is the gateway's own.
        garbage.collect_seldom()
    parts = assemble(settings)
    whatsapp = WhatsAppWebhook(settings, parts.database, parts.intake, adopt)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        open_files.make_room(settings.max_sessions)
        await parts.database.open()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.database.close)
            await parts.reads.open()
            stack.push_async_callback(parts.reads.close)
            await stack.enter_async_context(_running(parts))
            if with_worker:
                await stack.enter_async_context(working(settings, parts.doorbell))
            await stack.enter_async_context(rebalancing_on_signal(parts.census, parts.hub))
            drain_on_signals(parts.hub, settings.drain_seconds)
            yield

    application = Starlette(
        routes=routes(settings, parts, whatsapp),
        lifespan=lifespan,
        middleware=[
            Middleware(Webhooks, endpoints(settings, parts, adopt, whatsapp)),
            Middleware(CrossOrigin, allow_origins=settings.allowed_origins),
            Middleware(Problems),
        ],
        exception_handlers={HTTPException: _http_exception, ChatsyncError: _error},
    )
    application.state.hub = parts.hub
    application.state.feed = parts.feed
    return application


def _running(parts: Parts) -> AbstractAsyncContextManager[None]:
    return running(
        parts.doorbell.run,
        parts.listener.run,
        parts.stamper.run,
        parts.feed.run,
        parts.census.run,
        parts.stranded.run,
        parts.intake.run,
        parts.shared.devices.run,
        parts.relay.run,
        parts.shared.typing.run,
        parts.shared.presence.tell,
        parts.shared.presence.keep,
    )


async def _error(request: Request, error: Exception) -> Response:
    return problem(classified(error), correlation_id(request))


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    answer: RequestError = (
        NotFound("no such path") if error.status_code == 404 else BadRequest(error.detail)
    )
    response = problem(answer, correlation_id(request), error.status_code)
    response.headers.update(error.headers or {})
    return response

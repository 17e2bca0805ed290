"""`chatsync dev`: gateway, worker and database on one machine, with a demo tenant."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from chatsync.database import Database
from chatsync.dev import state, welcome
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.state import DevState
from chatsync.gateway.app import create
from chatsync.gateway.auth import mint
from chatsync.gateway.server import bind, configuration
from chatsync.migrate import migrate
from chatsync.settings import Settings

DEMO_TENANT = "demo"
DEMO_SECRET = "chatsync-dev-secret"  # noqa: S105 - known to everybody: protocol §6
TOKEN_SECONDS = 30 * 24 * 3600


def run(settings: Settings) -> None:
    """Start everything and stay until a signal. Raises ConfigError."""
    with ExitStack() as stack:
        listener = stack.enter_context(bind(settings))
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if settings.database_url is None:
            url = stack.enter_context(EmbeddedPostgres(settings.data_dir)).url
        else:
            url = settings.require_database_url()
        migrate(url)
        kept = _keep_state(settings, address, url)
        completed = _completed(settings, kept)
        with asyncio.Runner(loop_factory=configuration("", completed).get_loop_factory()) as runner:
            runner.run(_serve(completed, kept, listener))


def _keep_state(settings: Settings, address: str, url: str) -> DevState:
    kept = state.load(settings.data_dir)
    given = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    kept = DevState(
        jwt_secret=given or (kept.jwt_secret if kept else state.new_secret()),
        address=address,
        database_url=url,
        app_secret=DEMO_SECRET,
    )
    state.save(settings.data_dir, kept)
    return kept


def _completed(settings: Settings, kept: DevState) -> Settings:
    port = kept.address.rpartition(":")[2]
    return settings.model_copy(
        update={
            "database_url": SecretStr(kept.database_url),
            "jwt_secret": SecretStr(kept.jwt_secret),
            "whatsapp_verify_token": settings.whatsapp_verify_token or SecretStr(DEMO_SECRET),
            "allowed_origins": settings.allowed_origins
            or (kept.address, f"http://localhost:{port}"),
        }
    )


async def _serve(settings: Settings, kept: DevState, listener: object) -> None:
    database = Database(kept.database_url, "chatsync_worker", size=2, name="chatsync dev")
    await database.open()

    async def adopt(provider: str, external_id: str) -> None:
        await database.fetch_value(
            "select chatsync.adopt_inbox(%s, %s, %s, %s)",
            [DEMO_TENANT, provider, external_id, DEMO_SECRET],
        )

    try:
        await database.fetch_value("select chatsync.create_tenant(%s, 'Demo')", [DEMO_TENANT])
        server = uvicorn.Server(
            configuration(create(settings, adopt=adopt, with_worker=True), settings)
        )
        greeting = asyncio.create_task(_greet(server, kept, settings.data_dir))
        await server.serve(sockets=[listener])  # pyright: ignore[reportArgumentType]
        greeting.cancel()
    finally:
        await database.close()


async def _greet(server: uvicorn.Server, kept: DevState, data_dir: Path) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn tells of it by nothing else
        await asyncio.sleep(0.01)
    token = mint(
        kept.jwt_secret,
        tenant_id=DEMO_TENANT,
        user_id="agent-1",
        role="agent",
        ttl_seconds=TOKEN_SECONDS,
        name="Demo agent",
    )
    sys.stdout.write(welcome.text(kept.address, token, data_dir))
    sys.stdout.flush()

"""`chatsync dev`: gateway, worker and database on one machine, with a demo tenant."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from chatsync.database import Database
from chatsync.dev import state
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.simulator import PHONE_NUMBER_ID
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

    async def adopt(phone_number_id: str) -> None:
        await database.fetch_value(
            "select chatsync.adopt_inbox(%s, %s, %s)", [DEMO_TENANT, phone_number_id, DEMO_SECRET]
        )

    try:
        await database.fetch_value("select chatsync.create_tenant(%s, 'Demo')", [DEMO_TENANT])
        server = uvicorn.Server(
            configuration(create(settings, adopt=adopt, with_worker=True), settings)
        )
        welcome = asyncio.create_task(_welcome(server, kept, settings.data_dir))
        await server.serve(sockets=[listener])  # pyright: ignore[reportArgumentType]
        welcome.cancel()
    finally:
        await database.close()


async def _welcome(server: uvicorn.Server, kept: DevState, data_dir: Path) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    token = mint(
        kept.jwt_secret,
        tenant_id=DEMO_TENANT,
        user_id="agent-1",
        role="agent",
        ttl_seconds=TOKEN_SECONDS,
        name="Demo agent",
    )
    command = "scripts/chatsync" if Path("scripts/chatsync").exists() else "chatsync"
    sys.stdout.write(
        _WELCOME.format(address=kept.address, token=token, command=command, data_dir=data_dir)
        .replace("PHONE_NUMBER_ID", PHONE_NUMBER_ID)
    )
    sys.stdout.flush()


_WELCOME = """
chatsync is ready at {address} (data in {data_dir}; Ctrl-C ends it)

# an agent's token, for a month
export TOKEN={token}

# watch what agents see
{command} tail

# a customer writes
curl -sS -w '%{{http_code}}\\n' {address}/webhooks/whatsapp -d '{{"object":"whatsapp_business_account","entry":[{{"id":"200000000000000","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550000000","phone_number_id":"PHONE_NUMBER_ID"}},"contacts":[{{"profile":{{"name":"Ana"}},"wa_id":"15551000000"}}],"messages":[{{"from":"15551000000","id":"wamid.'"$(date +%s%N)"'","timestamp":"'"$(date +%s)"'","type":"text","text":{{"body":"Hello!"}}}}]}}}}]}}]}}'

# what the agent would load
curl -sS -H "Authorization: Bearer $TOKEN" {address}/api/conversations

# ten customers, five messages a second
{command} simulate --rate 5 --customers 10

"""

"""The command line: reads settings, composes, runs. Holds no logic of its own."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import click
import psycopg
from pydantic import SecretStr

from chatsync import __version__, settings as settings_module
from chatsync.client.stream import Stopped, follow
from chatsync.database import Database
from chatsync.dev import server as dev_server, state
from chatsync.dev.simulator import PHONE_NUMBER_ID, Customers, simulate as run_simulation
from chatsync.errors import ChatsyncError, ConfigError, SchemaMismatch
from chatsync.gateway import server as gateway_server
from chatsync.gateway.auth import ROLES, mint
from chatsync.migrate import migrate as run_migrations, pending
from chatsync.queue.service import worker_process
from chatsync.settings import Settings
from chatsync.telemetry import logs

EXIT_CODES: dict[type[ChatsyncError], int] = {ConfigError: 2, SchemaMismatch: 3}


def main() -> None:
    """Run the command line; what goes wrong is said in one sentence."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ChatsyncError as error:
        click.echo(f"chatsync: {error.message}", err=True)
        sys.exit(EXIT_CODES.get(type(error), 1))
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """The real-time backbone of a shared chat inbox."""


@cli.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8080).")
def dev(host: str | None, port: int | None) -> None:
    """Run everything on this machine, with an embedded PostgreSQL and a demo tenant."""
    settings = _settings_from_environment(host=host, port=port, log_format="console")
    _prepare(settings)
    dev_server.run(settings)


@cli.command()
@click.option("--workers", default=1, type=click.IntRange(1, 64), help="Processes on the port (1).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8080).")
def serve(workers: int, host: str | None, port: int | None) -> None:
    """Run the gateway: webhooks, WebSockets, HTTP."""
    settings = _settings(host=host, port=port)
    _prepare(settings)
    _require_migrated(settings)
    # uvicorn's processes read their settings from the environment.
    os.environ |= {
        "CHATSYNC_DATABASE_URL": settings.require_database_url(),
        "CHATSYNC_HOST": settings.host,
        "CHATSYNC_PORT": str(settings.port),
    }
    if settings.jwt_secret is not None:
        os.environ["CHATSYNC_JWT_SECRET"] = settings.jwt_secret.get_secret_value()
    gateway_server.serve(settings, workers)


@cli.command()
def work() -> None:
    """Run a queue worker."""
    settings = _settings()
    _prepare(settings)
    _require_migrated(settings)
    asyncio.run(_until_signal(worker_process(settings)))


@cli.command()
def migrate() -> None:
    """Bring the database up to this version."""
    applied = run_migrations(_settings().require_database_url())
    click.echo(f"applied {len(applied)} files" if applied else "nothing to apply")


@cli.command()
def doctor() -> None:
    """Check the database and say what is wrong."""
    settings = _settings()
    url = settings.require_database_url()
    waiting = pending(url)
    click.echo(_line(not waiting, "schema", f"{len(waiting)} files to apply" if waiting else "up to date"))
    rows: list[Any] = [] if waiting else _query(url, "select * from chatsync.doctor()")
    for name, is_ok, detail in rows:
        click.echo(_line(is_ok, name, detail))
    if waiting or not all(is_ok for _, is_ok, _ in rows):
        sys.exit(1)


@cli.command()
@click.option("--tenant", required=True, help="Tenant id.")
@click.option("--user", required=True, help="User id.")
@click.option("--role", default="agent", type=click.Choice(sorted(ROLES)), help="Role (agent).")
@click.option("--ttl", default=3600, type=click.IntRange(1), help="Seconds it is valid (3600).")
@click.option("--name", help="Name that colleagues see.")
def token(tenant: str, user: str, role: str, ttl: int, name: str | None) -> None:
    """Print a JWT and nothing else."""
    settings = _settings()
    if settings.jwt_secret is None:
        raise ConfigError("CHATSYNC_JWT_SECRET is not set, and no `chatsync dev` was started here")
    secret = settings.jwt_secret.get_secret_value()
    click.echo(
        mint(secret, tenant_id=tenant, user_id=user, role=role, ttl_seconds=ttl, name=name)
    )


@cli.group()
def tenant() -> None:
    """Manage tenants."""


@tenant.command("create")
@click.argument("tenant_id", metavar="ID")
@click.option("--name", help="Name to show.")
def tenant_create(tenant_id: str, name: str | None) -> None:
    """Create a tenant; one that is there stays as it is."""
    url = _settings().require_database_url()
    rows = _query(url, "select chatsync.create_tenant(%s, %s)", [tenant_id, name])
    click.echo(f"{'created' if rows[0][0] else 'kept'} tenant {tenant_id}")


@cli.group()
def inbox() -> None:
    """Manage inboxes."""


@inbox.command("create")
@click.option("--tenant", required=True, help="Tenant id.")
@click.option(
    "--provider", required=True, type=click.Choice(["whatsapp_cloud", "evolution", "standard"])
)
@click.option("--external-id", required=True, help="Phone number id, or instance.")
@click.option("--account-id", help="WhatsApp business account id.")
@click.option("--app-secret", help="Signs this inbox's webhooks.")
@click.option("--access-token", help="Sends this inbox's messages.")
@click.option("--api-key", help="Evolution API key.")
@click.option("--base-url", help="Address of the Evolution server.")
def inbox_create(tenant: str, provider: str, external_id: str, **more: str | None) -> None:
    """Create an inbox and print its id."""
    rows = _query(
        _settings().require_database_url(),
        "select chatsync.create_inbox(%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            tenant,
            provider,
            external_id,
            more["account_id"],
            more["app_secret"],
            more["access_token"],
            more["api_key"],
            more["base_url"],
        ],
    )
    click.echo(rows[0][0])


@cli.group()
def epoch() -> None:
    """Manage the lives of the log."""


@epoch.command("new")
def epoch_new() -> None:
    """Make every cursor given out unknown, after a restore that PostgreSQL cannot notice itself."""
    rows = _query(_settings().require_database_url(), "select chatsync.open_epochs()")
    click.echo(f"opened new epochs for {rows[0][0]} tenants")


@cli.command()
@click.option("--tenant", default=dev_server.DEMO_TENANT, help="Tenant id (demo).")
@click.option("--user", default="tail", help="User id (tail).")
@click.option("--topic", "topics", multiple=True, help="Topic to hear (tenant, user).")
@click.option("--cursor", help="Begin after this position.")
@click.option("--token", "jwt", help="Use this token instead of one of the own secret.")
@click.option("--url", help="Address of the gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print frames as they came.")
def tail(
    tenant: str,
    user: str,
    topics: tuple[str, ...],
    cursor: str | None,
    jwt: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Print what a session sees, for ever."""
    settings = _settings()
    if jwt is None and settings.jwt_secret is None:
        raise ConfigError("give --token, or set CHATSYNC_JWT_SECRET")
    jwt = jwt or mint(
        settings.jwt_secret.get_secret_value() if settings.jwt_secret else "",
        tenant_id=tenant,
        user_id=user,
        role="agent",
        ttl_seconds=24 * 3600,
    )
    address = (url or f"http://{settings.host}:{settings.port}").replace("http", "ws", 1)

    async def watch() -> None:
        frames = follow(f"{address}/ws", jwt, topics=list(topics) or None, cursor=cursor)
        async for frame in frames:
            click.echo(json.dumps(frame, ensure_ascii=False) if as_json else _told(frame))

    try:
        asyncio.run(watch())
    except Stopped as error:
        raise ConfigError(f"the gateway closed the session: {error}") from error


@cli.command()
@click.option("--rate", default=5.0, type=click.FloatRange(0.01), help="Webhooks a second (5).")
@click.option("--customers", default=10, type=click.IntRange(1), help="How many customers (10).")
@click.option("--count", type=click.IntRange(1), help="Stop after so many webhooks.")
@click.option("--seconds", type=click.FloatRange(0.01), help="Stop after so long.")
@click.option("--phone-number-id", default=PHONE_NUMBER_ID, help="Number they write to.")
@click.option("--secret", help="App secret that signs.")
@click.option("--url", help="Address of the gateway.")
@click.option("--seed", type=int, help="The same customers say the same.")
def simulate(
    rate: float,
    customers: int,
    count: int | None,
    seconds: float | None,
    phone_number_id: str,
    secret: str | None,
    url: str | None,
    seed: int | None,
) -> None:
    """Post signed webhooks of simulated customers."""
    settings = _settings()
    secrets = (secret,) if secret else (*settings.app_secrets, dev_server.DEMO_SECRET)
    address = url or f"http://{settings.host}:{settings.port}"
    crowd = Customers(customers, phone_number_id, seed)
    tally = asyncio.run(
        run_simulation(address, secrets[0], crowd, rate=rate, count=count, seconds=seconds)
    )
    click.echo(f"sent {tally.sent}, accepted {tally.accepted}, failed {tally.failed}")
    if tally.failed:
        sys.exit(1)


def _settings_from_environment(**options: object) -> Settings:
    return settings_module.load(**{name: value for name, value in options.items() if value is not None})


def _settings(**options: object) -> Settings:
    """The environment's settings, completed by what a `chatsync dev` of this checkout kept."""
    settings = _settings_from_environment(**options)
    kept = state.load(settings.data_dir) if settings.database_url is None else None
    if kept is None:
        return settings
    host, _, port = kept.address.removeprefix("http://").rpartition(":")
    return settings.model_copy(
        update={
            "database_url": SecretStr(kept.database_url),
            "jwt_secret": settings.jwt_secret or SecretStr(kept.jwt_secret),
            "host": options.get("host") or host.strip("[]"),
            "port": options.get("port") or int(port),
        }
    )


def _prepare(settings: Settings) -> None:
    logs.configure(log_format=settings.log_format, log_level=settings.log_level)
    # uvicorn raises the signal once more when it has shut down: end well, not by the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _require_migrated(settings: Settings) -> None:
    if waiting := pending(settings.require_database_url()):
        raise SchemaMismatch(f"run `chatsync migrate` first: {len(waiting)} files to apply")


async def _until_signal(running: AbstractAsyncContextManager[None]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    async with running:
        await ended.wait()


def _query(url: str, query: Any, parameters: list[Any] | None = None) -> list[Any]:
    """Call one function in the worker's role. Raises ConfigError with the database's sentence."""

    async def call() -> list[Any]:
        database = Database(url, "chatsync_worker", size=2, name="chatsync cli")
        await database.open()
        try:
            async with database.connection() as connection:
                return await (await connection.execute(query, parameters or [])).fetchall()
        finally:
            await database.close()

    try:
        return asyncio.run(call())
    except psycopg.Error as error:
        raise ConfigError(error.diag.message_primary or str(error)) from error


def _line(is_ok: bool, name: str, detail: str) -> str:
    return f"{'ok  ' if is_ok else 'FAIL'}  {name}: {detail}"


def _told(frame: dict[str, Any]) -> str:
    match frame["type"]:
        case "events":
            return "\n".join(_event_line(event) for event in frame["events"])
        case "connected":
            return f"connected as {frame['userId']} of {frame['tenantId']} at {frame['cursor']}"
        case _:
            return json.dumps(frame, ensure_ascii=False)


def _event_line(event: dict[str, Any]) -> str:
    data = event["data"]
    message = data.get("message") or {}
    who = (message.get("contact") or {}).get("name") or ""
    what = message.get("content") or data.get("status") or ""
    return f"{event['timestamp']}  {event['seq']:>6}  {event['type']:<22} {who}  {what}".rstrip()



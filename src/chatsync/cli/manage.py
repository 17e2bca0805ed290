"""Commands that look after a database: migrate, doctor, token, tenant, inbox, epoch."""

import sys

import click

from chatsync.cli.context import Rows, ask, operate, query, settings_here
from chatsync.database import Connection
from chatsync.errors import ConfigError
from chatsync.gateway.auth import ROLES, mint
from chatsync.migrate import migrate as run_migrations
from chatsync.migrate import pending


@click.command()
def migrate() -> None:
    """Bring the database up to this version."""
    applied = run_migrations(settings_here().require_database_url())
    click.echo(f"applied {len(applied)} files" if applied else "nothing to apply")


@click.command()
@click.option("--setup", "is_setup", is_flag=True, help="Only how it is set up: a health check.")
def doctor(is_setup: bool) -> None:
    """Check the database and say what is wrong."""
    settings = settings_here()
    url = settings.require_database_url()
    waiting = pending(url)
    click.echo(
        _line(not waiting, "schema", f"{len(waiting)} files to apply" if waiting else "up to date")
    )
    found = [] if waiting else operate(_examine_setup if is_setup else _examine)
    for each in found:
        click.echo(_line(each["is_ok"], each["check"], each["detail"]))
    if waiting or not all(each["is_ok"] for each in found):
        sys.exit(1)


async def _examine(connection: Connection) -> Rows:
    return await ask(connection, "select * from chatsync.doctor()")


async def _examine_setup(connection: Connection) -> Rows:
    return await ask(connection, "select * from chatsync.check_setup()")


@click.command()
@click.option("--tenant", required=True, help="Tenant id.")
@click.option("--user", required=True, help="User id.")
@click.option("--role", default="agent", type=click.Choice(sorted(ROLES)), help="Role (agent).")
@click.option("--ttl", default=3600, type=click.IntRange(1), help="Seconds it is valid (3600).")
@click.option("--name", help="Name that colleagues see.")
def token(tenant: str, user: str, role: str, ttl: int, name: str | None) -> None:
    """Print a JWT and nothing else."""
    settings = settings_here()
    if settings.jwt_secret is None:
        raise ConfigError("CHATSYNC_JWT_SECRET is not set, and no `chatsync dev` was started here")
    secret = settings.jwt_secret.get_secret_value()
    click.echo(mint(secret, tenant_id=tenant, user_id=user, role=role, ttl_seconds=ttl, name=name))


@click.group()
def tenant() -> None:
    """Manage tenants."""


@tenant.command("create")
@click.argument("tenant_id", metavar="ID")
@click.option("--name", help="Name to show.")
def tenant_create(tenant_id: str, name: str | None) -> None:
    """Create a tenant; one that is there stays as it is."""
    url = settings_here().require_database_url()
    rows = query(url, "select chatsync.create_tenant(%s, %s)", [tenant_id, name])
    click.echo(f"{'created' if rows[0][0] else 'kept'} tenant {tenant_id}")


@click.group()
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
    rows = query(
        settings_here().require_database_url(),
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


@inbox.command("set")
@click.option("--inbox", "inbox_id", required=True, type=int, help="Inbox id.")
@click.option(
    "--reopen-hours",
    required=True,
    type=click.IntRange(0),
    help="A message so soon after the last one reopens a resolved conversation; 0: none does.",
)
def inbox_set(inbox_id: int, reopen_hours: int) -> None:
    """Change an inbox."""
    rows = query(
        settings_here().require_database_url(),
        "select chatsync.set_reopen_hours(%s, %s)",
        [inbox_id, reopen_hours],
    )
    if not rows[0][0]:
        raise ConfigError(f"there is no inbox {inbox_id}")
    click.echo(f"inbox {inbox_id} reopens within {reopen_hours} hours")


@click.group()
def epoch() -> None:
    """Manage the lives of the log."""


@epoch.command("new")
def epoch_new() -> None:
    """Make every cursor given out unknown, after a restore that PostgreSQL cannot notice itself."""
    rows = query(settings_here().require_database_url(), "select chatsync.open_epochs()")
    click.echo(f"opened new epochs for {rows[0][0]} tenants")


def _line(is_ok: bool, name: str, detail: str) -> str:
    return f"{'ok  ' if is_ok else 'FAIL'}  {name}: {detail}"

"""Commands to try chatsync with: tail and simulate."""

import asyncio
import json
import sys
from typing import cast

import click

from chatsync.cli.context import settings_here
from chatsync.client import (
    Client,
    Connected,
    Ephemeral,
    Event,
    ProtocolViolation,
    SessionEnded,
    SnapshotNeeded,
)
from chatsync.client.client import DEFAULT_TOPICS
from chatsync.client.entries import Entry, Frame
from chatsync.dev import server as dev_server
from chatsync.dev.simulator import PHONE_NUMBER_ID, Customers
from chatsync.dev.simulator import simulate as run_simulation
from chatsync.errors import BadCursor, ConfigError
from chatsync.gateway.auth import mint

_SIGNS_OF_LIFE = frozenset({"ping", "pong", "reply"})
_ITEMS = frozenset({"connected", "events", "ephemeral"})


@click.command()
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
    settings = settings_here()
    if jwt is None and settings.jwt_secret is None:
        raise ConfigError("give --token, or set CHATSYNC_JWT_SECRET")
    jwt = jwt or mint(
        settings.jwt_secret.get_secret_value() if settings.jwt_secret else "",
        tenant_id=tenant,
        user_id=user,
        role="agent",
        ttl_seconds=24 * 3600,
    )
    try:
        client = Client(
            url or f"http://{settings.host}:{settings.port}",
            jwt,
            topics=topics or DEFAULT_TOPICS,
            cursor=cursor,
            on_frame=lambda frame: _show_frame(frame, as_json=as_json),
        )
    except (BadCursor, ValueError) as error:
        raise ConfigError(str(error)) from error
    try:
        asyncio.run(_watch(client, is_quiet=as_json))
    except (SessionEnded, ProtocolViolation) as error:
        raise ConfigError(f"the gateway closed the session: {error}") from error


async def _watch(client: Client, *, is_quiet: bool) -> None:
    async with client:
        async for entry in client.events():
            if isinstance(entry, SnapshotNeeded):
                # What is only printed has no state to repair.
                client.snapshot_taken()
            elif not is_quiet and (line := _line(entry)) is not None:
                click.echo(line)


def _show_frame(frame: Frame, *, as_json: bool) -> None:
    """All frames but the signs of life, as JSON; as text only those that are no entry."""
    if frame["type"] in _SIGNS_OF_LIFE or (not as_json and frame["type"] in _ITEMS):
        return
    click.echo(json.dumps(frame, ensure_ascii=False))


@click.command()
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
    settings = settings_here()
    secrets = (secret,) if secret else (*settings.app_secrets, dev_server.DEMO_SECRET)
    address = url or f"http://{settings.host}:{settings.port}"
    crowd = Customers(customers, phone_number_id, seed)
    tally = asyncio.run(
        run_simulation(address, secrets[0], crowd, rate=rate, count=count, seconds=seconds)
    )
    click.echo(f"sent {tally.sent}, accepted {tally.accepted}, failed {tally.failed}")
    if tally.failed:
        sys.exit(1)


def _line(entry: Entry) -> str | None:
    match entry:
        case Event():
            return _event_line(entry)
        case Connected():
            return f"connected as {entry.user_id} of {entry.tenant_id} at {entry.cursor}"
        case Ephemeral():
            return json.dumps(
                {
                    "type": "ephemeral",
                    "event": entry.event,
                    "topic": entry.topic,
                    "data": entry.data,
                },
                ensure_ascii=False,
            )
        case _:
            return None


def _event_line(event: Event) -> str:
    message = cast(Frame, event.data.get("message") or {})
    who = cast(Frame, message.get("contact") or {}).get("name") or ""
    what = message.get("content") or event.data.get("status") or ""
    return f"{event.timestamp}  {event.seq:>6}  {event.type:<22} {who}  {what}".rstrip()

"""Commands that pause a queue or a part of it, and resume it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import show, to_json
from chatsync.database import Connection

PAUSED = (
    "queue", "tenant_id", "inbox_id", "ordering_key", "pause_reason", "paused_at", "paused_until",
)  # fmt: skip


def scope(command: options.Command) -> options.Command:
    """What is meant: a queue or, narrower, a tenant, an inbox, a key in it."""
    for option in (
        click.option("--key", "ordering_key", metavar="KEY", help="Only this key of the tenant."),
        click.option("--inbox", "inbox_id", type=int, metavar="ID", help="Only this inbox."),
        options.tenant,
        click.argument("queue", metavar="QUEUE"),
    ):
        command = option(command)
    return command


@click.command()
@scope
@click.option("--reason", required=True, help="Why; whoever looks at the queue reads it.")
@click.option(
    "--for", "age", type=options.moment, metavar="TIME", help="It ends by itself: 15m, 2h."
)
@options.as_json
def pause(reason: str, age: datetime | None, as_json: bool, **named: Any) -> None:
    """Let nothing of it begin until it is resumed.

    What is running goes on. A key or an inbox needs its tenant.
    """
    _check(named)
    # An age counts backwards from now; a pause ends as long after it.
    now = datetime.now(UTC)
    until = now + (now - age) if age else None

    async def change(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select chatsync.pause(%(queue)s, %(tenant_id)s, %(inbox_id)s, %(ordering_key)s,"
            " %(reason)s, %(until)s)",
            {**named, "reason": reason, "until": until},
        )

    operate(change)
    told = {**named, "pausedUntil": until}
    click.echo(to_json(told) if as_json else f"{_name(named)} is paused")


@click.command()
@scope
@options.as_json
def resume(as_json: bool, **named: Any) -> None:
    """End the pause that was made with the same arguments."""
    _check(named)

    async def change(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select chatsync.resume(%(queue)s, %(tenant_id)s, %(inbox_id)s, %(ordering_key)s)"
            " as is_done",
            named,
        )

    is_done = operate(change)[0]["is_done"]
    if as_json:
        click.echo(to_json({**named, "resumed": is_done}))
    else:
        click.echo(f"{_name(named)} {'goes on' if is_done else 'was not paused'}")


@click.command()
@options.as_json
def paused(as_json: bool) -> None:
    """Show what is paused, and why."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select queue, tenant_id, inbox_id, ordering_key, pause_reason, paused_at, paused_until"
            " from chatsync.queue_pauses order by paused_at",
        )

    show(operate(look), PAUSED, as_json=as_json, nothing="nothing is paused")


def _check(named: dict[str, Any]) -> None:
    if named["tenant_id"] is None and (named["inbox_id"] or named["ordering_key"]):
        raise click.UsageError("--inbox and --key need --tenant")


def _name(named: dict[str, Any]) -> str:
    parts: tuple[tuple[str, Callable[[Any], str]], ...] = (
        ("queue", str),
        ("tenant_id", "tenant {}".format),
        ("inbox_id", "inbox {}".format),
        ("ordering_key", "key {}".format),
    )
    return ", ".join(form(named[name]) for name, form in parts if named[name] is not None)

"""Commands that limit how much of a queue runs at once, how fast it goes and how much may wait."""

import re
from typing import Any, LiteralString

import click
import psycopg

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import show, to_json
from chatsync.database import Connection
from chatsync.errors import ConfigError

LIMITS = (
    "queue", "kind", "per", "tenant_id", "inbox_id", "meaning", "burst", "used", "crowded", "lanes",
    "messages",
)  # fmt: skip
KINDS = {"in_flight": "--in-flight", "rate": "--rate", "depth": "--depth"}
# What the database refuses, by the constraint that does.
REFUSED = {
    "queue_is_plain": "a queue's name has small letters, digits, dots and dashes",
    "amount_is_positive": "a limit is 1 or more; to let nothing run, pause the queue",
    "rate_has_its_time": "a rate is of a time up to a year, and a burst is 1 or more",
    "kind_goes_by_its_scope": (
        "one batch of a key is in flight as it is, and a depth is of the queue as a whole"
    ),
    "exception_is_of_its_scope": (
        "--tenant goes with --per tenant, inbox or key, and --inbox with --per inbox or key"
    ),
}
NUMBER = click.IntRange(1, 2**31 - 1)


def rate(text: str) -> tuple[int, float]:
    """Messages in seconds: 80/1s, 1/6s, 100/m."""
    found = re.fullmatch(r"(\d{1,9})/(\d{0,9})([smhd])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no rate, as 80/1s, 1/6s or 1000/h")
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[3]]
    return int(found[1]), int(found[2] or 1) * seconds


def scope(command: options.Command) -> options.Command:
    """What is counted apart, and for whom it holds."""
    for option in (
        click.option("--inbox", "inbox_id", type=int, metavar="ID", help="For this inbox alone."),
        click.option("--tenant", "tenant_id", metavar="ID", help="For this tenant alone."),
        click.option(
            "--per",
            type=click.Choice(["queue", "tenant", "inbox", "key"]),
            help="What is counted apart; for a rate it is key, else queue, or what is named.",
        ),
        click.argument("queue", metavar="QUEUE"),
    ):
        command = option(command)
    return command


@click.command()
@scope
@click.option("--in-flight", type=NUMBER, metavar="N", help="So many messages at once.")
@click.option("--rate", type=rate, metavar="N/TIME", help="So many in a time: 80/1s, 1/6s, 100/m.")
@click.option("--burst", type=NUMBER, metavar="N", help="So many of a rate at once after a rest.")
@click.option("--depth", type=NUMBER, metavar="N", help="So many in the queue; more are refused.")
@options.as_json
def limit(burst: int | None, as_json: bool, **named: Any) -> None:
    """Let no more of it run at once, begin in a time, or wait.

    What is running goes on. With --tenant or --inbox it is an exception for that one.
    """
    kind, given, named = _of_one_kind(named)
    if burst and kind != "rate":
        raise click.UsageError("--burst goes with --rate")
    amount, seconds = given if kind == "rate" else (given, None)
    values = {**named, "amount": amount, "seconds": seconds, "burst": burst}

    async def change(connection: Connection) -> Rows:
        match kind:
            case "rate":
                return await _set(
                    connection,
                    "select chatsync.limit_rate(%(queue)s, %(amount)s,"
                    " make_interval(secs => %(seconds)s), %(per)s, %(tenant_id)s, %(inbox_id)s,"
                    " %(burst)s)",
                    values,
                )
            case "in_flight":
                return await _set(
                    connection,
                    "select chatsync.limit_in_flight(%(queue)s, %(amount)s, %(per)s, %(tenant_id)s,"
                    " %(inbox_id)s)",
                    values,
                )
            case _:
                return await _set(
                    connection, "select chatsync.limit_depth(%(queue)s, %(amount)s)", values
                )

    operate(change)
    told = {**named, "kind": kind, "amount": amount, "everySeconds": seconds, "burst": burst}
    click.echo(to_json(told) if as_json else f"{_name(kind, named)} is limited")


@click.command()
@scope
@click.option("--in-flight", is_flag=True, help="The limit of what runs at once.")
@click.option("--rate", is_flag=True, help="The limit of what begins in a time.")
@click.option("--depth", is_flag=True, help="The limit of what waits.")
@options.as_json
def unlimit(as_json: bool, **named: Any) -> None:
    """Lift the limit that was set with the same arguments."""
    kind, _, named = _of_one_kind(named)

    async def change(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select chatsync.lift_limit(%(queue)s, %(kind)s, %(per)s, %(tenant_id)s, %(inbox_id)s)"
            " as is_done",
            {**named, "kind": kind},
        )

    is_done = operate(change)[0]["is_done"]
    if as_json:
        click.echo(to_json({**named, "kind": kind, "lifted": is_done}))
    else:
        click.echo(f"{_name(kind, named)} {'has no limit now' if is_done else 'had no limit'}")


@click.command()
@options.as_json
def limits(as_json: bool) -> None:
    """Show limits, how much of them is used, and what waits."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select * from chatsync.queue_limit_use"
            " order by queue, kind, per, tenant_id nulls first, inbox_id nulls first",
        )

    show(operate(look), LIMITS, as_json=as_json, nothing="nothing is limited")


async def _set(connection: Connection, text: LiteralString, values: dict[str, Any]) -> Rows:
    """Raises ConfigError with a sentence for what the database refuses."""
    try:
        return await ask(connection, text, values)
    except psycopg.errors.CheckViolation as error:
        raise ConfigError(REFUSED[error.diag.constraint_name or ""]) from error


def _of_one_kind(named: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """The kind that was given and its value; the rest, with what it is per."""
    given = {kind: named[kind] for kind in KINDS if named[kind]}
    if len(given) != 1:
        raise click.UsageError(f"give one of {', '.join(KINDS.values())}")
    ((kind, value),) = given.items()
    scope = {name: each for name, each in named.items() if name not in KINDS}
    return kind, value, {**scope, "per": scope["per"] or _usual(kind, scope)}


def _usual(kind: str, scope: dict[str, Any]) -> str:
    """What an operator means who does not say what is counted apart."""
    if kind == "rate":
        return "key"
    if kind == "depth":
        return "queue"
    if scope["inbox_id"] is not None:
        return "inbox"
    return "queue" if scope["tenant_id"] is None else "tenant"


def _name(kind: str, named: dict[str, Any]) -> str:
    parts = [named["queue"], kind.replace("_", " "), f"per {named['per']}"]
    if named["tenant_id"] is not None:
        parts.append(f"tenant {named['tenant_id']}")
    if named["inbox_id"] is not None:
        parts.append(f"inbox {named['inbox_id']}")
    return ", ".join(parts)

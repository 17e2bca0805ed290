"""Options that the commands of the queue share, and how an operator writes a time."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """A time, or how long ago it was: 2026-11-21T09:30Z, 90s, 15m, 2h, 7d."""
    try:
        if age := re.fullmatch(r"(\d{1,9})([smhd])", text):
            return datetime.now(UTC) - timedelta(**{UNITS[age[2]]: int(age[1])})
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{text!r} is neither a time, as 2026-11-21T09:30Z, nor an age, as 2h"
        ) from error
    # A machine's own zone is not what its logs are written in.
    return found if found.tzinfo else found.replace(tzinfo=UTC)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
tenant = click.option("--tenant", "tenant_id", metavar="ID", help="Only this tenant's.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
everything = click.option(
    "--all", "is_all", is_flag=True, help="Mean all of them: without a filter this is needed."
)


def limit(default: int | None, text: str) -> Callable[[Command], Command]:
    shown = text if default is None else f"{text} ({default:,})"
    return click.option("--limit", default=default, type=click.IntRange(1), help=f"{shown}.")


def when(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=moment, metavar="WHEN", help=text)


def dead_letter_filters(command: Command) -> Command:
    """The filters that `dead`, `redrive` and `purge-dead` have in common."""
    for option in (
        click.option("--correlation-id", metavar="ID", help="Only what came of this webhook."),
        click.option(
            "--until",
            type=moment,
            metavar="WHEN",
            help="Only what failed before then: a time or an age, as 7d.",
        ),
        click.option(
            "--since",
            type=moment,
            metavar="WHEN",
            help="Only what failed since then: a time or an age, as 2h.",
        ),
        click.option(
            "--error", "error_like", metavar="PATTERN", help="Only this error; % is anything."
        ),
        tenant,
        click.option("--queue", metavar="NAME", help="Only of this queue."),
    ):
        command = option(command)
    return command


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on stderr, so that what is printed can be piped. Raises Abort for a no."""
    if not is_sure:
        click.confirm(question, abort=True, err=True)


def require_filter(*given: object, is_all: bool) -> None:
    """Refuse to take everything unless that was said."""
    if is_all and any(given):
        raise click.UsageError("give filters or --all, not both")
    if not is_all and not any(given):
        raise click.UsageError("give at least one filter, or --all to mean all of them")

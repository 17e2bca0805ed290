"""Commands that change single messages of the queue, by their ids: retry and cancel."""

import sys
from dataclasses import dataclass
from typing import Any, LiteralString

import click
import psycopg

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import show, to_json
from chatsync.database import Connection

PEEKED = ("id", "queue", "tenant_id", "ordering_key", "message_type", "status", "last_error")
IN_HAND = "CS005"  # A worker has the message.


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A change of one message, by its id."""

    text: LiteralString
    done: str
    otherwise: str
    reason: str | None = None

    async def take(self, connection: Connection, message_id: int) -> str | None:
        """Why it was not done, or None when it was."""
        try:
            rows = await ask(connection, self.text, {"id": message_id, "reason": self.reason})
        except psycopg.Error as error:
            if error.sqlstate != IN_HAND:
                raise
            return error.diag.message_primary
        return None if rows[0]["is_done"] else self.otherwise


@click.command()
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@options.as_json
def retry(ids: tuple[int, ...], as_json: bool) -> None:
    """Run messages now that wait for a later time."""
    single = Single(
        text="select chatsync.retry_message(%(id)s) as is_done",
        done="runs now",
        otherwise="is gone, or in line already",
    )
    _each(ids, single, as_json=as_json)


@click.command()
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--reason", required=True, help="Why; the dead letter keeps it.")
@options.dry_run
@options.yes
@options.as_json
def cancel(ids: tuple[int, ...], reason: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make waiting messages dead letters.

    What waits behind them goes on; what a worker has is refused.
    """
    if dry_run:
        _peek(ids, as_json=as_json)
        return
    options.confirm(f"cancel {len(ids):,} messages?", is_sure=yes)
    single = Single(
        text="select chatsync.cancel_message(%(id)s, %(reason)s) as is_done",
        reason=reason,
        done="is a dead letter now",
        otherwise="is gone",
    )
    _each(ids, single, as_json=as_json)


def _peek(ids: tuple[int, ...], *, as_json: bool) -> None:
    async def look(connection: Connection) -> Rows:
        return await ask(connection, "select * from chatsync.peek_messages(%s)", [list(ids)])

    show(operate(look), PEEKED, as_json=as_json, nothing="none of them is in the queue")


def _each(ids: tuple[int, ...], single: Single, *, as_json: bool) -> None:
    """Change messages one by one; what cannot be changed is named and stops no other."""

    async def work(connection: Connection) -> list[dict[str, Any]]:
        return [{"id": each, "refusal": await single.take(connection, each)} for each in ids]

    outcomes = operate(work)
    if as_json:
        click.echo(to_json(outcomes))
    for outcome in () if as_json else outcomes:
        refusal = outcome["refusal"]
        click.echo(f"{outcome['id']}: {refusal or single.done}", err=refusal is not None)
    if any(outcome["refusal"] for outcome in outcomes):
        sys.exit(1)

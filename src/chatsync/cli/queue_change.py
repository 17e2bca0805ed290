"""Commands that change the queue: retry, cancel, move, redrive, purge, purge-dead.

What takes many messages needs a filter, says how many it would take, and asks. It goes in chunks,
each a transaction of its own: producers and workers are not held up, and an interruption keeps
what was done.
"""

import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

import click
import psycopg

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import to_json
from chatsync.database import Connection

# A chunk holds its locks for some tens of milliseconds.
CHUNK = 500
# A look at what would be taken stops counting here.
COUNTED = 100_000
IN_HAND = "CS005"  # A worker has the message.


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of many messages: the function to call, and how to tell of it."""

    text: LiteralString
    filters: dict[str, Any]
    verb: str
    done: str
    what: str
    is_listing: bool = False

    async def take(self, connection: Connection, limit: int, *, is_dry_run: bool) -> Rows:
        return await ask(
            connection, self.text, {**self.filters, "limit": limit, "dry_run": is_dry_run}
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the operator wants it done."""

    limit: int | None
    is_dry_run: bool
    is_sure: bool
    as_json: bool


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
    """Take messages out of the queue, to the dead letters; what waits behind them goes on."""
    if dry_run:
        click.echo(f"would cancel {len(ids):,} messages")
        return
    options.confirm(f"cancel {len(ids):,} messages?", is_sure=yes)
    single = Single(
        text="select chatsync.cancel_message(%(id)s, %(reason)s) as is_done",
        reason=reason,
        done="is a dead letter now",
        otherwise="is gone",
    )
    _each(ids, single, as_json=as_json)


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@options.tenant
@options.limit(None, "So many, and the rest of the last one's key")
@options.dry_run
@options.yes
@options.as_json
def move(source: str, target: str, tenant_id: str | None, **how: Any) -> None:
    """Move what waits in one queue to another, key by key; a key that a worker has stays.

    Point the producers at the other queue first: what is enqueued meanwhile stays behind.
    """
    change = Change(
        text="select chatsync.move_messages(p_from => %(from)s, p_to => %(to)s,"
        " p_limit => %(limit)s, p_tenant_id => %(tenant_id)s, p_dry_run => %(dry_run)s) as count",
        filters={"from": source, "to": target, "tenant_id": tenant_id},
        verb="move",
        done="moved",
        what=f"messages from {source} to {target}",
    )
    _change(change, _manner(how))


@click.command()
@options.dead_letter_filters
@click.option(
    "--id", "ids", type=int, multiple=True, help="Only this dead letter, or these."
)
@options.everything
@options.limit(None, "So many at most")
@options.dry_run
@options.yes
@options.as_json
def redrive(
    ids: tuple[int, ...],
    is_all: bool,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Put dead letters into their queue again, the oldest first.

    What fails again while this runs is not taken twice.
    """
    options.require_filter(ids, *filters.values(), is_all=is_all)
    change = Change(
        text="select failed_id, new_id from chatsync.redrive(p_queue => %(queue)s,"
        " p_tenant_id => %(tenant_id)s, p_error_like => %(error_like)s, p_since => %(since)s,"
        " p_until => coalesce(%(until)s, %(began_at)s), p_correlation_id => %(correlation_id)s,"
        " p_ids => %(ids)s, p_limit => %(limit)s, p_dry_run => %(dry_run)s)",
        filters={**filters, "ids": list(ids) or None},
        verb="redrive",
        done="redrove",
        what="dead letters",
        is_listing=True,
    )
    _change(change, Manner(limit=limit, is_dry_run=dry_run, is_sure=yes, as_json=as_json))


@click.command()
@click.argument("queue")
@options.tenant
@click.option("--before", type=options.moment, metavar="WHEN", help="Only older ones: a time or an age, as 7d.")
@options.everything
@options.limit(None, "So many at most")
@options.dry_run
@options.yes
@options.as_json
def purge(
    queue: str, tenant_id: str | None, before: datetime | None, is_all: bool, **how: Any
) -> None:
    """Throw away what waits in a queue, for good; what a worker has stays."""
    options.require_filter(tenant_id, before, is_all=is_all)
    change = Change(
        text="select chatsync.purge_queue(p_queue => %(queue)s, p_tenant_id => %(tenant_id)s,"
        " p_before => coalesce(%(before)s, %(began_at)s), p_limit => %(limit)s,"
        " p_dry_run => %(dry_run)s) as count",
        filters={"queue": queue, "tenant_id": tenant_id, "before": before},
        verb="purge",
        done="purged",
        what=f"messages of {queue}",
    )
    _change(change, _manner(how))


@click.command("purge-dead")
@options.dead_letter_filters
@options.everything
@options.limit(None, "So many at most")
@options.dry_run
@options.yes
@options.as_json
def purge_dead(
    is_all: bool, limit: int | None, dry_run: bool, yes: bool, as_json: bool, **filters: Any
) -> None:
    """Throw dead letters away, for good."""
    options.require_filter(*filters.values(), is_all=is_all)
    change = Change(
        text="select chatsync.purge_dead_letters(p_queue => %(queue)s,"
        " p_tenant_id => %(tenant_id)s, p_error_like => %(error_like)s, p_since => %(since)s,"
        " p_until => coalesce(%(until)s, %(began_at)s), p_correlation_id => %(correlation_id)s,"
        " p_limit => %(limit)s, p_dry_run => %(dry_run)s) as count",
        filters=filters,
        verb="purge",
        done="purged",
        what="dead letters",
    )
    _change(change, Manner(limit=limit, is_dry_run=dry_run, is_sure=yes, as_json=as_json))


def _manner(how: dict[str, Any]) -> Manner:
    return Manner(
        limit=how["limit"],
        is_dry_run=how["dry_run"],
        is_sure=how["yes"],
        as_json=how["as_json"],
    )


def _change(change: Change, manner: Manner) -> None:
    async def work(connection: Connection) -> None:
        # What comes while this runs is not meant: it would go on for ever beside a busy producer.
        began_at = (await ask(connection, "select chatsync.now() as now"))[0]["now"]
        bounded = replace(change, filters={**change.filters, "began_at": began_at})
        if manner.is_dry_run or not manner.is_sure:
            found = await bounded.take(connection, manner.limit or COUNTED, is_dry_run=True)
            if manner.is_dry_run:
                _tell(change, found, f"would {change.verb}", as_json=manner.as_json)
                return
            options.confirm(
                f"{change.verb} {_amount(found)} {change.what}?", is_sure=not _count(found)
            )
        _tell(
            change,
            await _in_chunks(connection, bounded, manner),
            change.done,
            as_json=manner.as_json,
        )

    operate(work)


async def _in_chunks(connection: Connection, change: Change, manner: Manner) -> Rows:
    taken: Rows = []
    total = 0
    while manner.limit is None or total < manner.limit:
        size = CHUNK if manner.limit is None else min(CHUNK, manner.limit - total)
        rows = await change.take(connection, size, is_dry_run=False)
        # A chunk is smaller than asked for while a worker is at some of it: only none is an end.
        if not (count := _count(rows)):
            break
        total += count
        taken += rows
        if count >= size:
            click.echo(f"{change.done} {total:,} so far", err=True)
    return taken


def _tell(change: Change, rows: Rows, verb: str, *, as_json: bool) -> None:
    if not as_json:
        click.echo(f"{verb} {_amount(rows)} {change.what}")
    elif change.is_listing:
        click.echo(to_json(rows))
    else:
        click.echo(to_json([{"count": _count(rows)}]))


def _count(rows: Rows) -> int:
    """How many a call took: it says so in `count`, or has a row for each."""
    return sum(row.get("count", 1) for row in rows)


def _amount(rows: Rows) -> str:
    count = _count(rows)
    return f"{count:,}{' or more' if count >= COUNTED else ''}"


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

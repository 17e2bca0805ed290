"""Commands that change many messages of the queue: move, redrive, purge, purge-dead.

They say how many they would take, and ask; what throws away needs a filter. They go in chunks, each
a transaction of its own: nobody is held up for long, and an interruption keeps what was done.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

import click

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import to_json
from chatsync.database import Connection

# A chunk holds its locks for some tens of milliseconds.
CHUNK = 1000
# A look at what would be taken stops counting here.
COUNTED = 100_000


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
class Manner:
    """How the operator wants it done."""

    limit: int | None
    is_dry_run: bool
    is_sure: bool
    as_json: bool


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@options.tenant
@options.limit(None, "So many, and the rest of the last one's key")
@options.dry_run
@options.yes
@options.as_json
def move(source: str, target: str, tenant_id: str | None, **how: Any) -> None:
    """Move what waits in one queue to another, key by key.

    A key that a worker has stays. Point the producers at the other queue first: what they enqueue
    meanwhile stays behind.
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
@click.option("--id", "ids", type=int, multiple=True, help="Only this dead letter, or these.")
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
@options.when("--before", "Only what was enqueued before then: a time, or an age as 7d.")
@options.everything
@options.limit(None, "So many at most")
@options.dry_run
@options.yes
@options.as_json
def purge(
    queue: str, tenant_id: str | None, before: datetime | None, is_all: bool, **how: Any
) -> None:
    """Throw away what waits in a queue, for good.

    What a worker has stays.
    """
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
        if count >= size and total != manner.limit:
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

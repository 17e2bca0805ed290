"""The group of queue commands, and those that look: status, blocked, peek, dead, timeline."""

from datetime import datetime
from typing import Any

import click

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.queue_bulk import move, purge, purge_dead, redrive
from chatsync.cli.queue_limits import limit as limit_queue
from chatsync.cli.queue_limits import limits, unlimit
from chatsync.cli.queue_pauses import pause, paused, resume
from chatsync.cli.queue_policy import policy
from chatsync.cli.queue_single import cancel, retry
from chatsync.cli.queue_watch import DEPTH, WORKERS, watch
from chatsync.cli.table import show, table, to_json
from chatsync.database import Connection

BLOCKED = (
    "queue", "tenant_id", "ordering_key", "head_id", "head_status", "reason", "ready_at", "waiting",
    "retry_count", "last_error",
)  # fmt: skip
PEEKED = (
    "id", "tenant_id", "ordering_key", "message_type", "status", "scheduled_at", "retry_count",
    "last_error",
)  # fmt: skip
DEAD = (
    "id", "queue", "tenant_id", "message_type", "ordering_key", "failure_count", "failed_at",
    "error_message",
)  # fmt: skip


@click.group()
def queue() -> None:
    """Look at the queue, and set right what went wrong in it."""


@queue.command()
@options.as_json
def status(as_json: bool) -> None:
    """Show how much waits in each queue, and who works."""

    async def look(connection: Connection) -> tuple[Rows, Rows]:
        return (
            await ask(connection, "select * from chatsync.queue_depth order by queue"),
            await ask(connection, "select * from chatsync.queue_workers order by worker_id"),
        )

    depth, workers = operate(look)
    if as_json:
        click.echo(to_json({"queues": depth, "workers": workers}))
        return
    click.echo("\n".join(table(depth, DEPTH)) if depth else "every queue is empty")
    click.echo()
    click.echo("\n".join(table(workers, WORKERS)) if workers else "there is no worker")


@queue.command()
@click.option("--queue", "name", metavar="NAME", help="Only of this queue.")
@options.tenant
@options.as_json
def blocked(name: str | None, tenant_id: str | None, as_json: bool) -> None:
    """Show which ordering keys are held up, and why."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select * from chatsync.queue_blocked"
            " where (%(queue)s::text is null or queue = %(queue)s)"
            " and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)"
            " order by waiting desc, head_id",
            {"queue": name, "tenant_id": tenant_id},
        )

    show(operate(look), BLOCKED, as_json=as_json, nothing="nothing is blocked")


@queue.command()
@click.argument("name", metavar="QUEUE")
@options.tenant
@click.option("--key", help="Only of this ordering key.")
@options.limit(20, "So many at most")
@options.as_json
def peek(name: str, tenant_id: str | None, key: str | None, limit: int, as_json: bool) -> None:
    """Show the next messages of a queue without taking them."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select * from chatsync.peek_queue(p_queue => %s, p_limit => %s, p_tenant_id => %s,"
            " p_ordering_key => %s)",
            [name, limit, tenant_id, key],
        )

    show(operate(look), PEEKED, as_json=as_json, nothing=f"nothing waits in {name}")


@queue.command()
@options.dead_letter_filters
@options.limit(20, "The newest so many")
@options.as_json
def dead(limit: int, as_json: bool, **filters: Any) -> None:
    """List dead letters, the newest first."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select * from chatsync.dead_letters(p_queue => %(queue)s,"
            " p_tenant_id => %(tenant_id)s, p_error_like => %(error_like)s, p_since => %(since)s,"
            " p_until => %(until)s, p_correlation_id => %(correlation_id)s, p_limit => %(limit)s)",
            {**filters, "limit": limit},
        )

    show(operate(look), DEAD, as_json=as_json, nothing="there are no such dead letters")


@queue.command()
@click.argument("correlation_id")
@options.when("--since", "It is not older than this: a time, or an age as 2h; found faster.")
@options.as_json
def timeline(correlation_id: str, since: datetime | None, as_json: bool) -> None:
    """Show all that came of one webhook, in the order of time."""

    async def look(connection: Connection) -> Rows:
        return await ask(
            connection,
            "select * from chatsync.timeline(p_correlation_id => %s, p_since => %s)",
            [correlation_id, since],
        )

    show(
        operate(look),
        ("at", "what", "detail"),
        as_json=as_json,
        nothing=f"nothing is known of {correlation_id}",
    )


for command in (
    watch, limits, limit_queue, unlimit, paused, pause, resume, policy, retry, cancel, move,
    redrive, purge, purge_dead,
):  # fmt: skip
    queue.add_command(command)

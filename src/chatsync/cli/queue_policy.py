"""The command that shows and sets what queues do with failing, done and dead messages."""

from typing import Any

import click

from chatsync.cli import options
from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import show
from chatsync.database import Connection

POLICY = (
    "queue", "when_head_fails", "backoff_base_seconds", "backoff_cap_seconds", "archive_days",
    "dead_letter_days",
)  # fmt: skip
DAYS = click.IntRange(0, 36500)
SECONDS = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("queue", required=False)
@click.option(
    "--when-head-fails",
    type=click.Choice(["block", "skip"]),
    help="Whether a failing message holds back the later ones of its key.",
)
@click.option(
    "--backoff-base", "backoff_base_seconds", type=SECONDS, metavar="SECONDS",
    help="The longest wait after the first failed attempt; it doubles with each.",
)  # fmt: skip
@click.option(
    "--backoff-cap", "backoff_cap_seconds", type=SECONDS, metavar="SECONDS",
    help="No wait is longer than this.",
)  # fmt: skip
@click.option(
    "--archive-days", type=DAYS, metavar="DAYS",
    help="Keep done messages for so many days; 0: not at all.",
)  # fmt: skip
@click.option(
    "--dead-letter-days", type=DAYS, metavar="DAYS",
    help="Delete dead letters after so many days; 0: never.",
)  # fmt: skip
@options.as_json
def policy(queue: str | None, as_json: bool, **given: Any) -> None:
    """Show policies of queues, or set one.

    It says how long a failing message waits and whether others wait for it, and for how many days
    done messages and dead letters are kept.

    What is not given stays as it is.
    """
    is_change = any(value is not None for value in given.values())
    if is_change and queue is None:
        raise click.UsageError("name the queue whose policy is to change")

    async def work(connection: Connection) -> Rows:
        if is_change:
            return await _set(connection, {"queue": queue, **given})
        return await ask(
            connection,
            "select * from chatsync.queue_policies"
            " where %(queue)s::text is null or queue = %(queue)s order by queue",
            {"queue": queue},
        )

    show(
        operate(work),
        POLICY,
        as_json=as_json,
        nothing=f"{queue or 'every queue'} has the defaults",
    )


async def _set(connection: Connection, given: dict[str, Any]) -> Rows:
    return await ask(
        connection,
        "select * from chatsync.set_policy(p_queue => %(queue)s,"
        " p_when_head_fails => %(when_head_fails)s,"
        " p_backoff_base_seconds => %(backoff_base_seconds)s,"
        " p_backoff_cap_seconds => %(backoff_cap_seconds)s,"
        " p_archive_days => %(archive_days)s, p_dead_letter_days => %(dead_letter_days)s)",
        given,
    )

"""`chatsync queue watch`: the queues each second, with rates from the differences."""

import asyncio
import signal
import sys
from collections import deque
from datetime import UTC, datetime
from typing import Any, TypeAlias

import click

from chatsync.cli.context import Rows, ask, operate
from chatsync.cli.table import table, to_json
from chatsync.database import Connection

DEPTH = (
    "queue", "pending", "paused", "limited", "processing", "retrying", "scheduled", "dead",
    "oldest_claimable", "lanes", "free_lanes",
)  # fmt: skip
WORKERS = ("worker_id", "name", "is_alive", "lease_until", "messages", "oldest_claim")
RATES = {"enqueued": "enqueued_per_second", "gone": "gone_per_second", "dead": "dead_per_second"}
# PostgreSQL counts rows up to a second late: the difference of two neighbours would jump.
RATE_SAMPLES = 6
HOME, END_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

Sample: TypeAlias = dict[str, Any]


@click.command()
@click.option(
    "--interval", default=1.0, type=click.FloatRange(0.05), help="Seconds between two looks (1)."
)
@click.option("--count", type=click.IntRange(1), help="Stop after so many looks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def watch(interval: float, count: int | None, as_json: bool) -> None:
    """Show queues, rates and workers until Ctrl-C.

    Rates are of the last five looks: messages that came, that left the queue (done, dead, cancelled
    or purged), and that became dead letters.
    """
    operate(lambda connection: _watch(connection, interval, count, as_json))


async def _watch(connection: Connection, interval: float, count: int | None, as_json: bool) -> None:
    ended = _ended_by_signal()
    samples: deque[Sample] = deque(maxlen=RATE_SAMPLES)
    looks = 0
    while not ended.is_set():
        samples.append(await _look(connection))
        seen = _with_rates(samples)
        _print(to_json(seen) if as_json else "\n".join(_screen(seen)), is_screen=not as_json)
        looks += 1
        if looks == count:
            return
        try:
            await asyncio.wait_for(ended.wait(), interval)
        except TimeoutError:
            continue


def _ended_by_signal() -> asyncio.Event:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        ended.set()
        # Where the database does not answer, a second Ctrl-C does not wait for it.
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    return ended


async def _look(connection: Connection) -> Sample:
    totals = await ask(connection, "select * from chatsync.queue_totals()")
    return {
        "at": datetime.now(UTC),
        "totals": totals[0],
        "queues": await ask(connection, "select * from chatsync.queue_depth order by queue"),
        "workers": await ask(connection, "select * from chatsync.queue_workers order by worker_id"),
    }


def _with_rates(samples: "deque[Sample]") -> Sample:
    """The newest sample, with rates against the oldest: of all, and the change of each queue."""
    first, last = samples[0], samples[-1]
    seconds = (last["at"] - first["at"]).total_seconds()
    before = {row["queue"]: _waiting(row) for row in first["queues"]}

    def rate(difference: float) -> float:
        return round(difference / seconds, 1) if seconds else 0.0

    return {
        "at": last["at"],
        **{
            name: rate(last["totals"][total] - first["totals"][total])
            for total, name in RATES.items()
        },
        "queues": [
            {
                **row,
                "change_per_second": rate(_waiting(row) - before.get(row["queue"], 0)),
            }
            for row in last["queues"]
        ],
        "workers": last["workers"],
    }


def _waiting(row: dict[str, Any]) -> int:
    return sum(row[state] for state in ("scheduled", "pending", "processing", "retrying"))


def _screen(seen: Sample) -> list[str]:
    rates = ", ".join(f"{total} {seen[name]:,.1f}/s" for total, name in RATES.items())
    depth: Rows = seen["queues"]
    workers: Rows = seen["workers"]
    return [
        f"{seen['at']:%Y-%m-%d %H:%M:%S} UTC   {rates}   (Ctrl-C ends it)",
        "",
        *(table(depth, (*DEPTH, "change_per_second")) if depth else ["every queue is empty"]),
        "",
        *(table(workers, WORKERS) if workers else ["there is no worker"]),
    ]


def _print(text: str, *, is_screen: bool) -> None:
    if is_screen and sys.stdout.isatty():
        lines = "".join(f"{line}{END_OF_LINE}\n" for line in text.split("\n"))
        click.echo(f"{HOME}{lines}{REST_OF_SCREEN}", nl=False)
    elif is_screen:
        click.echo(f"{text}\n")
    else:
        click.echo(text)
    # Whoever reads a pipe waits for the line, not for a full buffer.
    sys.stdout.flush()

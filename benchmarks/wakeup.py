"""From enqueue to handler on an idle queue, beside the least that can do it; what idling costs.

    scripts/bench wakeup [--runs N] [--messages N] [--seconds N] [--quick]
        [--only delay,idle] [--json FILE]

One worker process with a handler of each kind, one producer that enqueues a message every 50 to
100 ms at random moments. Then nothing is enqueued, and the CPU is read.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from side_by_side import cpu, facts, postgres, processes
from side_by_side.figures import Result
from side_by_side.processes import PATIENCE_SECONDS, BenchmarkError, Child
from side_by_side.results import Results
from wakeups.report import report, words

from chatsync.migrate import migrate
from chatsync.queue.upkeep import EAGER_SECONDS

# Each way into a queue, as producer.py is told.
BLOCKS = {
    "external handler": ("worker", "external", "without-keys"),
    "external handler, keys": ("worker", "external", "with-keys"),
    "transactional handler": ("worker", "transactional", "without-keys"),
    "transactional handler, keys": ("worker", "transactional", "with-keys"),
    "foreign insert": ("foreign", "external", "without-keys"),
    "foreign insert, keys": ("foreign", "external", "with-keys"),
    "scheduled": ("scheduled", "external", "without-keys"),
    "scheduled, keys": ("scheduled", "external", "with-keys"),
}
FLOOR = "floor: insert, NOTIFY, LISTEN, select"
TITLES = {
    "delay": "delay: from the enqueue, or the due time, to the beginning of the handler",
    "idle": "idle: a worker process and its PostgreSQL, with nothing to do",
}
WARM_UP = 20
SETTLE_SECONDS = 5.0
GAP_SECONDS = 0.2  # more than the longest of producer.py
_PROGRAMS = Path(__file__).parent / "wakeups"


@dataclass(slots=True)
class Bench:
    """A server, and the programs that run beside it."""

    server: postgres.EmbeddedPostgres
    # To another database, so that it adds nothing to what is counted.
    aside: psycopg.Connection[tuple[int]]
    folder: Path

    def start(self, name: str, program: str, *arguments: str) -> Child:
        return processes.start(
            name,
            [sys.executable, str(_PROGRAMS / f"{program}.py"), *arguments],
            self.folder,
            {"CHATSYNC_DATABASE_URL": self.server.url},
        )

    def committed(self) -> int:
        return postgres.number(
            self.aside,
            "select xact_commit from pg_stat_database where datname = 'chatsync'",
        )


def main() -> None:
    options = _options()
    results = Results(facts.of_this_run("wakeup"), facts.of_programs(()))
    with processes.ending() as stack:
        bench = opened(stack)
        results.facts["server"] = postgres.facts(bench.aside)
        floor = None
        if "delay" in options.only:
            floor = bench.start("floor", "floor", "listen")
            stack.callback(floor.stop)
            floor.await_that(lambda: floor.said("ready") > 0)
        for run in range(1, options.runs + 1):
            for figure, side, result in _run(bench, floor, run, options):
                results.add(figure, side, result)
                _say(f"run {run}, {figure}, {side}: {words(result)}")
                if options.json:
                    results.write(options.json)
    print(report(results, TITLES))


def opened(stack: ExitStack) -> Bench:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-wakeup-")))
    server = postgres.started(folder, stack)
    migrate(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("set role chatsync_owner")
        connection.execute("select chatsync.create_tenant('t1')")
    aside = postgres.connected(make_conninfo(server.url, dbname="postgres"), stack)
    return Bench(server, aside, folder)


def _run(
    bench: Bench, floor: Child | None, run: int, options: argparse.Namespace
) -> Iterator[tuple[str, str, Result]]:
    """Everything once, with a worker of its own."""
    if "idle" in options.only:
        yield "idle", "PostgreSQL alone", idle(bench, None, options.seconds)
    with processes.ending() as stack:
        worker = bench.start(f"worker-{run}", "worker")
        stack.callback(worker.stop)
        started = time.monotonic()
        if floor is not None:
            for name, log in _blocks(worker, floor, run):
                yield "delay", name, delays(bench, log, f"{run}-{name}", name, options.messages)
        if "idle" in options.only:
            # A worker looks after its tables more often in its first minute.
            quiet = started + (0 if options.quick else EAGER_SECONDS) + SETTLE_SECONDS
            time.sleep(max(0, quiet - time.monotonic()))
            yield "idle", "with a worker", idle(bench, worker, options.seconds)


def _blocks(worker: Child, floor: Child, run: int) -> list[tuple[str, Child]]:
    """What is measured, with who tells of it; each run begins with another one."""
    blocks = [(FLOOR, floor), *((name, worker) for name in BLOCKS)]
    first = run % len(blocks)
    return blocks[first:] + blocks[:first]


def delays(bench: Bench, log: Child, block: str, name: str, count: int) -> Result:
    """How long after they were enqueued, or due, messages are begun; not the first ones."""
    block = block.replace(" ", "_")
    count += WARM_UP
    if name == FLOOR:
        producer = bench.start(block, "floor", "send", block, str(count))
    else:
        way, queue, keys = BLOCKS[name]
        producer = bench.start(block, "producer", block, way, queue, keys, str(count))
    with processes.ending() as stack:
        stack.callback(producer.stop)
        deadline = time.monotonic() + PATIENCE_SECONDS + count * GAP_SECONDS
        while len(begun := _begun(log, block)) < count:
            if producer.process.poll() or time.monotonic() > deadline:
                raise BenchmarkError(f"{len(begun)} of {count} messages were begun: {name}")
            time.sleep(0.5)
        # What it does at its end must not meet the next one's beginning.
        producer.process.wait(PATIENCE_SECONDS)
    cuts = statistics.quantiles(begun[WARM_UP:], n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(begun[WARM_UP:])}


def _begun(log: Child, block: str) -> list[float]:
    """The delays that were told of a block, in milliseconds."""
    told = (line.split() for line in log.log.read_text(errors="replace").splitlines())
    return [int(words[2]) / 1e6 for words in told if words[:2] == ["begun", block]]


def idle(bench: Bench, worker: Child | None, seconds: float) -> Result:
    """How much of a core goes into doing nothing, and how many transactions."""
    roots = {"postgres": bench.server.pid} | ({"worker": worker.pid} if worker else {})
    began, committed, spent = time.monotonic(), bench.committed(), cpu.fine_seconds(roots)
    time.sleep(seconds)
    now, took = cpu.fine_seconds(roots), time.monotonic() - began
    return {
        **{f"{name}_percent": (now[name] - spent[name]) / took * 100 for name in roots},
        "transactions_per_second": (bench.committed() - committed) / took,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench wakeup", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=5, help="how often each is measured (5)")
    add("--messages", type=int, default=1000, help="how many messages each time (1000)")
    add("--seconds", type=float, default=60.0, help="how long idling is watched (60)")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--only", type=lambda text: text.split(","), default=list(TITLES))
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    options = parser.parse_args()
    if unknown := set(options.only) - set(TITLES):
        parser.error(f"{', '.join(unknown)} is none of {', '.join(TITLES)}")
    if options.quick:
        options.runs, options.messages, options.seconds = 1, 50, 5.0
    return options


def _say(sentence: str) -> None:
    print(f"scripts/bench wakeup: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

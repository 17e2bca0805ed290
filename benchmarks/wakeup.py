"""From enqueue to handler on an idle queue, beside the least that can do it; what idling costs.

    scripts/bench wakeup [--runs N] [--messages N] [--seconds N] [--quick]
        [--only delay,idle] [--json FILE]

One worker process with a handler of each kind, one producer that enqueues a message every 50 to
100 ms at random moments, in all ways in turns. Then nothing is enqueued, and the CPU is read.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from wakeups.ways import FLOOR, WAYS

from chatsync.migrate import migrate
from chatsync.queue.upkeep import EAGER_SECONDS

TITLES = {
    "delay": "delay: from the enqueue, or the due time, to the beginning of the handler",
    "idle": "idle: a worker process and its PostgreSQL, with nothing to do",
}
WARM_UP = 20
SETTLE_SECONDS = 5.0
GAP_SECONDS = 0.3  # more than the longest of producer.py
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
            for way, result in delays(bench, worker, floor, run, options.messages).items():
                yield "delay", way, result
        if "idle" in options.only:
            # A worker looks after its tables more often in its first minute.
            quiet = started + (0 if options.quick else EAGER_SECONDS) + SETTLE_SECONDS
            time.sleep(max(0, quiet - time.monotonic()))
            yield "idle", "with a worker", idle(bench, worker, options.seconds)


def delays(bench: Bench, worker: Child, floor: Child, run: int, count: int) -> Mapping[str, Result]:
    """How long after they were enqueued, or due, messages are begun; not the first ones."""
    count += WARM_UP
    before = len(_begun(floor)[FLOOR.name])
    with processes.ending() as stack:
        producer = bench.start(f"producer-{run}", "producer", str(count))
        stack.callback(producer.stop)
        deadline = time.monotonic() + PATIENCE_SECONDS + count * len(WAYS) * GAP_SECONDS
        while producer.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(SETTLE_SECONDS)
        if producer.process.poll() != 0:
            cause = processes.telling_line(producer.log.read_text(errors="replace"))
            raise BenchmarkError(f"the producer did not end: {cause}")
    begun = _begun(worker)
    begun[FLOOR.name] = _begun(floor)[FLOOR.name][before:]
    for way in WAYS:
        if len(begun[way.name]) != count:
            raise BenchmarkError(f"{len(begun[way.name])} of {count} were begun: {way.name}")
    least = statistics.median(begun[FLOOR.name][WARM_UP:])
    return {way.name: _spread(begun[way.name][WARM_UP:], least) for way in WAYS}


def _begun(teller: Child) -> dict[str, list[float]]:
    """The delays that were told of each way, in milliseconds."""
    begun: dict[str, list[float]] = defaultdict(list)
    for line in teller.log.read_text(errors="replace").splitlines():
        match line.split():
            case ["begun", way, nanoseconds]:
                begun[way].append(int(nanoseconds) / 1e6)
            case _:
                pass
    return begun


def _spread(delays: Sequence[float], least: float) -> Result:
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    p50 = cuts[49]
    return {"p50_ms": p50, "p99_ms": cuts[98], "max_ms": max(delays), "p50_to_floor": p50 / least}


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
    add("--messages", type=int, default=200, help="how many messages each way (200)")
    add("--seconds", type=float, default=60.0, help="how long idling is watched (60)")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--only", type=lambda text: text.split(","), default=list(TITLES))
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    options = parser.parse_args()
    if unknown := set(options.only) - set(TITLES):
        parser.error(f"{', '.join(unknown)} is none of {', '.join(TITLES)}")
    if options.quick:
        options.runs, options.messages, options.seconds = 1, 20, 5.0
    return options


def _say(sentence: str) -> None:
    print(f"scripts/bench wakeup: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

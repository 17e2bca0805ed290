"""What a wake-up costs writers: chatsync's bell after the commit, none at all, and a trigger's.

    scripts/bench bell [--runs N] [--seconds N] [--quick] [--only processes,connections]
        [--json FILE]

Eight writers enqueue messages one by one: eight processes, or eight connections of one process.
They change the way every second. One more process listens and does nothing. What the writers'
backends wait for is looked at every 20 ms.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from side_by_side import cpu, facts, postgres, processes
from side_by_side.figures import Result
from side_by_side.processes import Child
from side_by_side.results import Results
from wakeups.report import report, words

from chatsync.migrate import migrate

WRITERS = 8
LOOK_SECONDS = 0.02
SLICE_SECONDS = 1.0
CHANGE_SECONDS = 0.1  # until what was begun in the last way has ended
WAYS = {
    "none": "no bell",
    "after": "after the commit",
    "trigger": "in the transaction, by a trigger",
}
TITLES = {
    "processes": f"{WRITERS} processes, each with a bell of its own",
    "connections": f"{WRITERS} connections of one process, with one bell",
}
_PROGRAMS = Path(__file__).parent / "wakeups"
# Whatever else a backend waits for is not about the bell: the lock is on a database as an object.
_LOOK = b"""
    select application_name,
      count(*) filter (where wait_event_type = 'Lock' and wait_event = 'object')
    from pg_stat_activity
    where application_name in ('chatsync producer', 'chatsync ringer')
    group by application_name
"""
_KINDS = {"chatsync producer": "writers", "chatsync ringer": "ringers"}


@dataclass(slots=True)
class Bench:
    """A server with a listener, where one way after the other is measured."""

    server: postgres.EmbeddedPostgres
    connection: psycopg.Connection[tuple[int]]
    # As who the writers log in: nobody else may see what they wait for.
    login: psycopg.Connection[tuple[str, int]]
    folder: Path

    def start(self, program: str, *arguments: str) -> Child:
        return processes.start(
            "-".join((program, *arguments)),
            [sys.executable, str(_PROGRAMS / f"{program}.py"), *arguments],
            self.folder,
            {"CHATSYNC_DATABASE_URL": self.server.url},
        )

    def empty(self) -> None:
        self.connection.execute(
            "truncate chatsync.message_queue, chatsync.lane_turns, chatsync.queue_lanes"
        )

    def given_out(self) -> int:
        """The newest id: each message takes one."""
        return postgres.number(
            self.connection, "select last_value from chatsync.message_queue_id_seq"
        )


def main() -> None:
    options = _options()
    results = Results(facts.of_this_run("bell"), facts.of_programs(()))
    with processes.ending() as stack:
        bench = opened(stack)
        results.facts["server"] = postgres.facts(bench.connection)
        for run in range(1, options.runs + 1):
            for figure in options.only:
                for way, result in measure(bench, figure, options.seconds).items():
                    results.add(figure, WAYS[way], result)
                    _say(f"run {run}, {figure}, {WAYS[way]}: {words(result)}")
                if options.json:
                    results.write(options.json)
    print(report(results, TITLES))


def opened(stack: ExitStack) -> Bench:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-bell-")))
    server = postgres.started(folder, stack)
    migrate(server.url)
    connection, login = (postgres.connected(server.url, stack) for _ in range(2))
    bench = Bench(server, connection, login, folder)
    bench.connection.execute("set role chatsync_owner")
    bench.connection.execute("select chatsync.create_tenant('t1')")
    listener = bench.start("listener")
    stack.callback(listener.stop)
    listener.await_that(lambda: listener.said("ready") > 0)
    return bench


def measure(bench: Bench, figure: str, seconds: float) -> Mapping[str, Result]:
    """The same writers in each way, a second at a time, in turns."""
    bench.empty()
    count, tasks = (WRITERS, 1) if figure == "processes" else (1, WRITERS)
    with processes.ending() as stack:
        writers = [bench.start("writer", str(number), str(tasks)) for number in range(count)]
        for writer in writers:
            stack.callback(writer.log.unlink)
            stack.callback(writer.stop)
        for writer in writers:
            writer.await_that(lambda writer=writer: writer.said("ready") == tasks)
        pids = [writer.pid for writer in writers]
        totals = {way: Counter[str]() for way in WAYS}
        for _ in range(max(1, round(seconds / SLICE_SECONDS))):
            for way in WAYS:
                totals[way].update(_slice(bench, pids))
                for pid in pids:
                    os.kill(pid, signal.SIGUSR1)
                time.sleep(CHANGE_SECONDS)
    silent = totals["none"]["messages"] / totals["none"]["seconds"]
    return {way: _result(total, silent) for way, total in totals.items()}


def _slice(bench: Bench, pids: Sequence[int]) -> Mapping[str, float]:
    """What happens in one slice: messages, seconds, CPU, and who waits for the lock of NOTIFY."""
    roots = {"postgres": bench.server.pid, **{str(pid): pid for pid in pids}}
    seen = Counter[str]()
    began, before, spent = time.monotonic(), bench.given_out(), cpu.seconds(roots)
    while time.monotonic() < began + SLICE_SECONDS:
        seen["looks"] += 1
        for name, on_lock in bench.login.execute(_LOOK):
            seen[_KINDS[name]] += on_lock
        time.sleep(LOOK_SECONDS)
    used = {name: now - spent[name] for name, now in cpu.seconds(roots).items()}
    return {
        "messages": bench.given_out() - before,
        "seconds": time.monotonic() - began,
        "postgres": used.pop("postgres"),
        "used": sum(used.values()),
        **seen,
    }


def _result(total: Mapping[str, float], silent: float) -> Result:
    messages, looks = total["messages"], total["looks"] * WRITERS
    return {
        "messages_per_second": messages / total["seconds"],
        "ratio_to_no_bell": messages / total["seconds"] / silent,
        "writers_on_the_lock_percent": total["writers"] / looks * 100,
        "ringers_on_the_lock_percent": total["ringers"] / looks * 100,
        "cpu_us_postgres": total["postgres"] / messages * 1e6,
        "cpu_us_writers": total["used"] / messages * 1e6,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench bell", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=5, help="how often each is measured (5)")
    add("--seconds", type=float, default=5.0, help="how long each way (5)")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--only", type=lambda text: text.split(","), default=list(TITLES))
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    options = parser.parse_args()
    if unknown := set(options.only) - set(TITLES):
        parser.error(f"{', '.join(unknown)} is none of {', '.join(TITLES)}")
    if options.quick:
        options.runs, options.seconds = 1, 1.0
    return options


def _say(sentence: str) -> None:
    print(f"scripts/bench bell: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

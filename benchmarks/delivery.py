"""From a commit to a subscriber's socket at an even rate, and the share of each stage.

    scripts/bench delivery [--runs N] [--rate N] [--seconds N] [--sockets N] [--quick] [--json FILE]

One gateway process; a producer that commits single events as any SQL client does, which the gateway
numbers and delivers. Beside it the floor: a committed row, NOTIFY, LISTEN, and its read. In turns.

`whole` begins when a commit is asked for, `answer_to_socket` and `answer_to_read` when it is
answered.
CPU is that of the gateway and of PostgreSQL, the producer's backends included, over the events.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deliveries.stage import Found, Load, Stage, opened
from side_by_side import facts, processes
from side_by_side.processes import BenchmarkError
from side_by_side.results import Results
from wakeups.report import report, words

TITLES = {"delivery": "delivery: from a commit to the bytes at a subscriber"}
# What an event's time consists of, one after the other.
STAGES = ("commit", "commit_to_stamp", "stamp_to_socket")


def main() -> None:
    options = _options()
    results = Results(facts.of_this_run("delivery"), facts.of_programs(()))
    with (
        processes.ending() as stack,
        tempfile.TemporaryDirectory(prefix="chatsync-delivery-") as folder,
    ):
        stage = opened(Path(folder), stack)
        results.facts["server"] = stage.server_facts()
        load = Load(options.rate, options.seconds, options.sockets)
        for run in range(1, options.runs + 1):
            floor = _floor(stage, load)
            results.add("delivery", "floor", floor)
            ours = _chatsync(stage, load)
            for clock, least in (("whole", "whole"), ("answer_to_socket", "answer_to_read")):
                ratio = ours[f"{clock}_p50_ms"] / floor[f"{least}_p50_ms"]
                ours[f"{clock}_p50_to_floor"] = ratio
            results.add("delivery", "chatsync", ours)
            _say(f"run {run}, floor: {words(floor)}")
            _say(f"run {run}, chatsync: {words(ours)}")
            if options.json:
                results.write(options.json)
    print(report(results, TITLES))


def _floor(stage: Stage, load: Load) -> dict[str, float]:
    found = stage.floor(load)
    return _spreads(found) | _cpu(found)


def _chatsync(stage: Stage, load: Load) -> dict[str, float]:
    found = stage.chatsync(load)
    result = _spreads(found)
    whole = statistics.fmean(found.stages["whole"])
    for name in STAGES:
        share = statistics.fmean(found.stages[name]) / whole
        result[f"{name}_share_percent"] = share * 100
    result |= {f"{name}_mean_ms": mean * 1000 for name, mean in found.means.items()}
    return result | _cpu(found)


def _spreads(found: Found) -> dict[str, float]:
    result = {"events_per_second": found.events_per_second}
    for name, seconds in found.stages.items():
        result |= _spread(name, seconds)
    return result


def _cpu(found: Found) -> dict[str, float]:
    return {f"cpu_us_{name}": seconds * 1e6 for name, seconds in found.cpu.items()}


def _spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < 100:
        raise BenchmarkError(f"{len(seconds)} events are too few")
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": cuts[49] * 1000, f"{name}_p99_ms": cuts[98] * 1000}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench delivery", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=5, help="how often each is measured (5)")
    add("--rate", type=int, default=1000, help="events in a second (1000)")
    add("--seconds", type=float, default=10.0, help="how long each is measured (10)")
    add("--sockets", type=int, default=10, help="subscribers of each event (10)")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.rate, options.seconds = 1, 200, 2.0
    return options


def _say(sentence: str) -> None:
    print(f"scripts/bench delivery: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

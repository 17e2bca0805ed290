"""The command line: which systems, which figures, how often."""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import psycopg
from side_by_side import facts, processes
from side_by_side.processes import BenchmarkError

from chatsync.errors import ChatsyncError
from queues import chatsync_queue, needs, node_peers, python_peers, rounds
from queues.place import Place
from queues.report import Results, report
from queues.rounds import Sizes, name_of
from queues.system import System

_SYSTEMS = (
    chatsync_queue.TRANSACTIONAL,
    chatsync_queue.EXTERNAL,
    python_peers.PROCRASTINATE,
    python_peers.PGQUEUER,
    node_peers.PG_BOSS,
    node_peers.GRAPHILE_WORKER,
    node_peers.BULLMQ,
)
_FIGURES = ("drain", "keys")
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main() -> None:
    """Measure what the arguments say; exits with 1 and one sentence for whatever prevents it."""
    options = _parser().parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _run(options)
    except (BenchmarkError, ChatsyncError, psycopg.Error, OSError) as error:
        _say("; ".join(str(error).split("\n")))
        sys.exit(1)
    except KeyboardInterrupt:
        _say("interrupted; what was started is stopped")
        sys.exit(_INTERRUPTED)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _run(options: argparse.Namespace) -> None:
    systems, sizes = _systems(options), _sizes(options)
    has_redis = any(system.has_redis for system in systems)
    needs.provide({system.program[0] for system in systems}, redis=has_redis)
    with processes.ending() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-queue-")))
        folder.chmod(0o711)  # for root, PostgreSQL runs as somebody else
        place = Place(folder, stack, has_redis=has_redis)
        results = _results(systems, place)
        for run in range(1, options.runs + 1):
            # What is measured first finds a cooler machine.
            for system in systems if run % 2 else systems[::-1]:
                for figure, result in rounds.measure(system, place, sizes, folder).items():
                    results.add(figure, system.name, result)
                    _say(f"run {run}, {system.name}, {figure}: {_words(result)}")
                if options.json:
                    results.write(options.json)
    without = [system.name for system in systems if not system.per_key]
    print(report(results, {name_of(keys): without for keys in sizes.keys if keys}))


def _results(systems: Sequence[System], place: Place) -> Results:
    told = {
        **facts.of_this_run("queue"),
        "versions": ", ".join(f"{name} {version}" for name, version in _versions(systems).items()),
        "servers": ", ".join(f"{name} {value}" for name, value in place.facts().items()),
    }
    return Results(told, {system.name: _settings_told(system) for system in systems})


def _settings_told(system: System) -> str:
    keyed = f"; with keys {dict(system.keyed_settings)}" if system.keyed_settings else ""
    return f"{dict(system.settings)}{keyed}; per key: {system.per_key or 'none'}"


def _versions(systems: Sequence[System]) -> Mapping[str, str]:
    """Of the packages that are measured, each asked in its own environment."""
    versions: dict[str, str] = {}
    for system in systems:
        if system.program[0] == str(needs.NODE):
            versions["node"] = processes.run([system.program[0], "--version"]).removeprefix("v")
            for package in system.packages:
                path = needs.PEERS / "node_modules" / package / "package.json"
                versions[package] = json.loads(path.read_text(encoding="utf-8"))["version"]
        else:
            ask = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
            for package in system.packages:
                if package != "chatsync":  # the checkout's; the revision says which
                    versions[package] = processes.run([system.program[0], "-c", ask, package])
    return versions


def _words(result: Mapping[str, float]) -> str:
    costs = [
        f"{measure.removeprefix('cpu_us_')} {value:.0f}"
        for measure, value in result.items()
        if measure.startswith("cpu_us_")
    ]
    return (
        f"{result['enqueued_per_second']:,.0f}/s in, {result['drained_per_second']:,.0f}/s out,"
        f" the first after {result['first_ms']:.0f} ms, {result['handled']:,.0f} handled,"
        f" µs CPU a message: {', '.join(costs)}"
    )


def _systems(options: argparse.Namespace) -> list[System]:
    changed: dict[str, dict[str, int]] = {}
    for name, setting, value in options.set:
        changed.setdefault(name, {})[setting] = value
    return [
        dataclasses.replace(
            system,
            settings={**system.settings, **changed.get(system.name, {})},
            keyed_settings={**system.keyed_settings, **changed.get(system.name, {})},
        )
        if system.name in changed
        else system
        for system in _SYSTEMS
        if system.name in options.systems
    ]


def _sizes(options: argparse.Namespace) -> Sizes:
    numbers = ([0] if "drain" in options.only else []) + (
        options.keys if "keys" in options.only else []
    )
    if options.quick:
        return Sizes(2_000, numbers, 10.0)
    return Sizes(options.messages, numbers, options.limit)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench queue", description="Measures queues side by side."
    )
    add = parser.add_argument
    names = [system.name for system in _SYSTEMS]
    add("--runs", type=int, default=5, help="how often each is measured (5)")
    add("--only", type=_among(_FIGURES), default=list(_FIGURES), help="of drain,keys: some")
    add("--systems", type=_among(names), default=names, help=f"of {','.join(names)}: some")
    add("--messages", type=int, default=20_000, help="how many are enqueued and drained (20000)")
    add("--keys", type=_numbers, default=[2_000, 10, 1], help="numbers of keys (2000,10,1)")
    add("--limit", type=float, default=20.0, help="seconds that a drain may take (20)")
    add("--set", type=_setting, action="append", default=[], metavar="SYSTEM.NAME=VALUE")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    return parser


def _among(names: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(names)}")
        return chosen

    return parse


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _setting(text: str) -> tuple[str, str, int]:
    name, _, value = text.partition("=")
    system, _, setting = name.rpartition(".")
    return system, setting, int(value)


def _say(sentence: str) -> None:
    print(f"scripts/bench queue: {sentence}", file=sys.stderr, flush=True)

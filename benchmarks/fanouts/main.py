"""The command line: which figures, of which sides, how often; in turns, and the medians."""

import argparse
import dataclasses
import os
import platform
import signal
import statistics
import sys
from types import FrameType

import psycopg
from side_by_side import needs, processes
from side_by_side.processes import BenchmarkError

from chatsync.errors import ChatsyncError
from fanouts import sides
from fanouts.figures import FIGURES, OPENERS, QUICK, Sizes


def main() -> None:
    """Measure what the arguments say; exits with 1 and one sentence for whatever prevents it."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    names, figures = options.sides.split(","), options.only.split(",")
    sizes = QUICK if options.quick else Sizes()
    if options.sockets:
        sizes = dataclasses.replace(sizes, sockets=options.sockets, idle=options.sockets)
    try:
        sides.check(names)
        if "socketio" in names:
            needs.provide({"peer"}, wrk=False)
        _introduce(sizes)
        for figure in figures:
            _measure(figure, names, options.runs, sizes)
    except (BenchmarkError, ChatsyncError, psycopg.Error, OSError) as error:
        print(f"scripts/bench fanout: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # As Ctrl-C: what was started is stopped.
    raise KeyboardInterrupt


def _introduce(sizes: Sizes) -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    told = {"Python": platform.python_version(), **sides.versions()}
    print(", ".join(f"{name} {version}" for name, version in told.items()))
    print(processes.run(["git", "describe", "--always", "--dirty"]), sizes, "\n", flush=True)


def _measure(figure: str, names: list[str], runs: int, sizes: Sizes) -> None:
    measured: dict[str, dict[str, list[float]]] = {}
    for run in range(runs):
        # Each run begins with another side, so that what else the machine does falls on all.
        turn = run % len(names)
        for name in names[turn:] + names[:turn]:
            for what, value in FIGURES[figure](OPENERS[name], sizes).items():
                measured.setdefault(what, {}).setdefault(name, []).append(value)
                load = os.getloadavg()[0]
                print(f"  run {run + 1} {name}: {value:.2f} {what} (load {load:.1f})", flush=True)
    for what, values in measured.items():
        print(f"{what}: " + ", ".join(_told(name, values) for name in values), "\n", flush=True)


def _told(name: str, values: dict[str, list[float]]) -> str:
    middle = statistics.median(values[name])
    spread = f"{min(values[name]):.2f}-{max(values[name]):.2f}"
    ours = values.get("chatsync")
    ratio = ""
    if ours and name != "chatsync" and middle:
        ratio = f", chatsync is {statistics.median(ours) / middle:.2f} of it"
    return f"{name} {middle:.2f} ({spread}){ratio}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench fanout", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=5, help="how often each is measured (5)")
    add("--only", default=",".join(FIGURES), help="some of the figures")
    add("--sides", default=",".join(OPENERS), help="some of the sides")
    add("--sockets", type=int, help="how many sockets (500; 5,000 of memory)")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    return parser


if __name__ == "__main__":
    main()

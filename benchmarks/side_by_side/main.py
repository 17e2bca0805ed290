"""The command line: which figures, on which sides, how often."""

import argparse
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType

import psycopg

from chatsync.errors import ChatsyncError
from side_by_side import chatsync_side, facts, needs, peer_side, runs, sizes, tables, trivial_side
from side_by_side.figures import FIGURES
from side_by_side.processes import BenchmarkError
from side_by_side.results import Results
from side_by_side.side import Opener

_SIDES = ("chatsync", "peer")
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main() -> None:
    """Measure what the arguments say; exits with 1 and one sentence for whatever prevents it."""
    options = _parser().parse_args()
    # A shell that starts a program in the background makes it ignore Ctrl-C.
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
    plan = _plan(options)
    needs.provide(plan.sides, wrk="accept" in plan.figures)
    results = Results(facts.of_this_run(), facts.of_programs(plan.sides))

    def on_result(run: int, figure: str, side: str) -> None:
        _say(f"run {run}, {figure}, {side}: {tables.words(results, figure, side)}")
        if options.json:
            results.write(options.json)

    runs.measure(plan, results, on_result)
    print(tables.report(results))


def _plan(options: argparse.Namespace) -> runs.Plan:
    if options.check_generator:
        figures = [name for name in options.only if not name.startswith("drain")]
        return runs.Plan(
            figures, {"trivial": trivial_side.opened}, options.runs, sizes.of_generator()
        )
    sized = sizes.quick if options.quick else sizes.full
    measured = sized(has_statistics=not options.without_statistics)
    return runs.Plan(options.only, _sides(options), options.runs, measured)


def _sides(options: argparse.Namespace) -> Mapping[str, Opener]:
    openers: dict[str, Opener] = {
        "chatsync": chatsync_side.opened,
        "peer": partial(peer_side.opened, redis_fsync=options.redis_fsync),
    }
    return {name: openers[name] for name in _SIDES if options.side in (name, "both")}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench inbox",
        description="Measures the way from webhook to socket of chatsync beside the usual stack.",
    )
    add = parser.add_argument
    add("--runs", type=_count, default=5, help="how often each is measured (5)")
    add("--only", type=_figures, default=list(FIGURES), help=f"of {','.join(FIGURES)}: some")
    add("--side", choices=[*_SIDES, "both"], default="both")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add(
        "--redis-fsync",
        choices=["always", "everysec"],
        default="always",
        help="when the peer's Redis writes to disk: before it answers (always), or a second later",
    )
    add(
        "--without-statistics",
        action="store_true",
        help="measure tables that PostgreSQL has no statistics of, as in their first minute",
    )
    add(
        "--check-generator",
        action="store_true",
        help="measure a server that does nothing, to see what the generator itself can do",
    )
    add("--json", type=_new_file, metavar="FILE", help="write each run and the medians, too")
    return parser


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _figures(text: str) -> list[str]:
    figures = text.split(",")
    if unknown := set(figures) - set(FIGURES):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(FIGURES)}")
    return figures


def _new_file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is no folder")
    return path


def _say(sentence: str) -> None:
    print(f"scripts/bench inbox: {sentence}", file=sys.stderr, flush=True)

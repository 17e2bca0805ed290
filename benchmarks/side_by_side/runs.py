"""Measures in turns: every figure on every side, a fresh side each time, in changing order."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from side_by_side import deliveries, processes
from side_by_side.figures import FIGURES, Result
from side_by_side.results import Results
from side_by_side.side import Opener
from side_by_side.sizes import RequestFile, Sizes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how often."""

    figures: Sequence[str]
    sides: Mapping[str, Opener]
    runs: int
    sizes: Sizes


def measure(plan: Plan, results: Results, on_result: Callable[[int, str, str], None]) -> None:
    """Add to the results; `on_result` hears the run, the figure and the side of each."""
    with processes.ending() as stack:
        folder = _temporary_folder(stack)
        file = _request_file(folder, plan)
        for run in range(1, plan.runs + 1):
            # What is measured first finds a cooler machine.
            order = list(plan.sides) if run % 2 else list(reversed(list(plan.sides)))
            for figure in plan.figures:
                for side in order:
                    results.add(figure, side, _one(plan, figure, side, file, results))
                    on_result(run, figure, side)


def _one(plan: Plan, figure: str, name: str, file: RequestFile, results: Results) -> Result:
    with processes.ending() as stack:
        side = stack.enter_context(plan.sides[name](_temporary_folder(stack, file.path.parent)))
        results.facts[name] = dict(side.facts())
        return FIGURES[figure](side, name, plan.sizes, file)


def _request_file(folder: Path, plan: Plan) -> RequestFile:
    path = folder / "requests"
    count = plan.sizes.requests if "accept" in plan.figures else 0
    return RequestFile(path, deliveries.write(path, count), count)


def _temporary_folder(stack: ExitStack, parent: Path | None = None) -> Path:
    name = stack.enter_context(
        tempfile.TemporaryDirectory(
            prefix="chatsync-bench-", dir=parent, ignore_cleanup_errors=True
        )
    )
    folder = Path(name)
    folder.chmod(0o711)  # for root, PostgreSQL runs as somebody else
    return folder

"""Tables of what was measured: each run, and the median."""

from collections.abc import Mapping

from side_by_side import tables
from side_by_side.results import Results


def report(results: Results, titles: Mapping[str, str]) -> str:
    """What was measured, then a table for each figure, its sides in the order of the first run."""
    parts = [tables.measured(results)]
    parts += [f"## {titles[figure]}\n\n{_table(results, figure)}" for figure in results.figures]
    return "\n\n".join(parts)


def words(result: Mapping[str, float]) -> str:
    """One result in a line."""
    return "; ".join(f"{_label(name)} {_number(value)}" for name, value in result.items())


def _table(results: Results, figure: str) -> str:
    sides = list(results.by_side(figure))
    count = max(len(results.runs(figure, side)) for side in sides)
    rows = [["", "", *(f"run {number}" for number in range(1, count + 1)), "median"]]
    for measure in dict.fromkeys(name for side in sides for name in results.medians(figure, side)):
        for side in sides:
            median = results.medians(figure, side).get(measure)
            if median is None:
                continue
            runs = [_number(run[measure]) for run in results.runs(figure, side)]
            runs += [""] * (count - len(runs))
            rows.append([_label(measure), side, *runs, _number(median)])
    return tables.aligned(rows)


def _label(measure: str) -> str:
    if measure.startswith("cpu_us_"):
        return f"µs CPU a message, {measure.removeprefix('cpu_us_')}"
    if measure.endswith("_ms"):
        return f"{measure.removesuffix('_ms')}, ms"
    if measure.endswith("_percent"):
        return f"{measure.removesuffix('_percent').replace('_', ' ')}, %"
    return measure.replace("_per_second", "/s").replace("_", " ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

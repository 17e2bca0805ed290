"""Results as Markdown tables, aligned so that a terminal shows them, too."""

from collections.abc import Iterator, Mapping, Sequence

from side_by_side.results import Results

_TITLES = {
    "flat-out": "flat-out: webhook to socket, as fast as it goes",
    "latency": "latency: webhook to socket, at an even rate",
    "accept": "accept: webhooks answered 200 while nobody works on them",
    "drain": "drain: queued deliveries of one inbox to stored messages and events",
    "drain-inboxes": "drain-inboxes: queued deliveries of eight inboxes",
}
_RATIO = "chatsync ÷ peer"


def report(results: Results) -> str:
    """What was measured, then a table for each figure."""
    parts = [measured(results)]
    parts += [f"## {_TITLES[figure]}\n\n{_figure(results, figure)}" for figure in results.figures]
    return "\n\n".join(parts)


def words(results: Results, figure: str, side: str) -> str:
    """The newest result of a side in one line."""
    newest = results.runs(figure, side)[-1]
    return "; ".join(f"{_label(name)} {_number(value)}" for name, value in newest.items())


def measured(results: Results) -> str:
    """The command, the machine and the versions, as a list."""
    lines = [*_pairs(results.this_run), f"versions: {_listed(results.programs)}"]
    lines += [f"{side}: {_listed(told)}" for side, told in results.facts.items() if told]
    return "\n".join(f"- {line}" for line in lines)


def _pairs(facts: Mapping[str, str]) -> Iterator[str]:
    return (f"{name}: {value}" for name, value in facts.items())


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _figure(results: Results, figure: str) -> str:
    sides = results.sides(figure)
    ratios = results.ratios(figure)
    count = max(len(results.runs(figure, side)) for side in sides)
    runs = [f"run {number}" for number in range(1, count + 1)]
    rows = [["", "side", *runs, "median", *([_RATIO] if ratios else [])]]
    measures = dict.fromkeys(name for side in sides for name in results.medians(figure, side))
    for measure in measures:
        for side in sides:
            medians = results.medians(figure, side)
            if measure not in medians:
                continue
            values = [_number(run[measure]) for run in results.runs(figure, side)]
            values += [""] * (count - len(values))
            row = [_label(measure), side, *values, _number(medians[measure])]
            if ratios:
                ratio = ratios.get(measure)
                row.append(f"{ratio:.2f}" if ratio is not None and side == "chatsync" else "")
            rows.append(row)
    return aligned(rows)


def _label(measure: str) -> str:
    if measure.startswith("cpu_us_"):
        return f"µs CPU a message, {measure.removeprefix('cpu_us_')}"
    if measure.endswith("_ms"):
        return f"ms, {measure.removesuffix('_ms')}"
    return measure.replace("_per_second", "/s")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table; the first is its head, and all but two columns are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    rule = [("-" * width if at < 2 else "-" * (width - 1) + ":") for at, width in enumerate(widths)]
    return "\n".join([lines[0], _line(rule, widths), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    texts = (
        cell.ljust(width) if at < 2 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(texts)} |"

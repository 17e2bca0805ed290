"""What was measured as Markdown: a table for each figure, the best peer as the measure of all."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from side_by_side import tables

from queues.rounds import Result

OURS = "chatsync"


@dataclass(slots=True)
class Results:
    """Runs by figure and system, and what there is to know about them."""

    facts: dict[str, str]
    settings: Mapping[str, str]
    runs: dict[str, dict[str, list[Result]]] = field(
        default_factory=dict[str, dict[str, list[Result]]]
    )

    def add(self, figure: str, system: str, result: Result) -> None:
        self.runs.setdefault(figure, {}).setdefault(system, []).append(result)

    def median(self, figure: str, system: str, measure: str) -> float:
        return statistics.median(run[measure] for run in self.runs[figure][system])

    def best_peer(self, figure: str, measure: str) -> float | None:
        """The best median of those that are not chatsync."""
        peers = [name for name in self.runs[figure] if not name.startswith(OURS)]
        return max((self.median(figure, name, measure) for name in peers), default=None)

    def write(self, path: Path) -> None:
        medians = {
            figure: {
                system: {measure: self.median(figure, system, measure) for measure in runs[0]}
                for system, runs in systems.items()
            }
            for figure, systems in self.runs.items()
        }
        kept = {
            "facts": self.facts,
            "settings": self.settings,
            "runs": self.runs,
            "medians": medians,
        }
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def report(results: Results, without: Mapping[str, Sequence[str]]) -> str:
    """Facts, then enqueueing and draining of each figure; `without` has no such mode."""
    facts = [f"- {name}: {value}" for name, value in results.facts.items()]
    facts += [f"- {name}: {told}" for name, told in results.settings.items()]
    parts = ["\n".join(facts)]
    for figure in results.runs:
        for measure, title in (("enqueued_per_second", "enqueue"), ("drained_per_second", "drain")):
            table = _table(results, figure, measure, without.get(figure, ()))
            parts.append(f"## {title}, {figure}\n\n{table}")
    parts.append("CPU is in seconds for 1,000 messages; the ratio is to the best of the others.")
    return "\n\n".join(parts)


def _table(results: Results, figure: str, measure: str, without: Sequence[str]) -> str:
    systems = results.runs[figure]
    count = max(map(len, systems.values()))
    best = results.best_peer(figure, measure)
    is_drain = measure == "drained_per_second"
    head = ["", "", *(f"run {number}" for number in range(1, count + 1)), "median", "÷ best peer"]
    rows = [head + (["worker CPU", "server CPU", "handled"] if is_drain else [])]
    for name, runs in systems.items():
        median = results.median(figure, name, measure)
        row = [name, "messages/s", *(f"{run[measure]:,.0f}" for run in runs)]
        row += [""] * (count - len(runs))
        row += [f"{median:,.0f}", f"{median / best:.2f}" if best else ""]
        if is_drain:
            row += _costs(results, figure, name)
        rows.append(row)
    rows += [[name, "none", *[""] * (len(rows[0]) - 2)] for name in without]
    return tables.aligned(rows)


def _costs(results: Results, figure: str, name: str) -> list[str]:
    measures = results.runs[figure][name][0]
    server = next(measure for measure in measures if measure in ("cpu_us_postgres", "cpu_us_redis"))
    worker, database = (
        results.median(figure, name, measure) / 1e3 for measure in ("cpu_us_worker", server)
    )
    return [
        f"{worker:.3f}",
        f"{database:.3f}",
        f"{results.median(figure, name, 'handled'):,.0f}",
    ]

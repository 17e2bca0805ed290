"""What was measured: each run, the medians, and chatsync's medians over the peer's."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from side_by_side.figures import Result


@dataclass(slots=True)
class Results:
    """Runs by figure and side, and what there is to know about them."""

    this_run: Mapping[str, str]
    programs: Mapping[str, str]
    facts: dict[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    _runs: dict[str, dict[str, list[Result]]] = field(
        default_factory=dict[str, dict[str, list[Result]]]
    )

    def add(self, figure: str, side: str, result: Result) -> None:
        self._runs.setdefault(figure, {}).setdefault(side, []).append(result)

    @property
    def figures(self) -> Sequence[str]:
        return list(self._runs)

    def sides(self, figure: str) -> Sequence[str]:
        return sorted(self._runs[figure])  # chatsync, then the peer, whoever was first

    def by_side(self, figure: str) -> Mapping[str, Sequence[Result]]:
        """The runs of each side, in the order of the first run."""
        return self._runs[figure]

    def runs(self, figure: str, side: str) -> Sequence[Result]:
        return self._runs[figure].get(side, [])

    def medians(self, figure: str, side: str) -> Result:
        runs = self.runs(figure, side)
        return {measure: statistics.median(run[measure] for run in runs) for measure in runs[0]}

    def ratios(self, figure: str) -> Result:
        """chatsync's medians over the peer's, for what both have."""
        if not {"chatsync", "peer"} <= set(self.sides(figure)):
            return {}
        ours, theirs = self.medians(figure, "chatsync"), self.medians(figure, "peer")
        return {name: ours[name] / theirs[name] for name in ours if theirs.get(name)}

    def write(self, path: Path) -> None:
        """Write all as JSON."""
        figures = {
            figure: {
                "runs": self._runs[figure],
                "medians": {side: self.medians(figure, side) for side in self.sides(figure)},
                "ratios": self.ratios(figure),
            }
            for figure in self.figures
        }
        kept = {
            "this_run": dict(self.this_run),
            "programs": dict(self.programs),
            "servers": {side: dict(facts) for side, facts in self.facts.items()},
            "figures": figures,
        }
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")

"""The command line: which figures, on which sides, how often."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import uvloop

from side_by_side import deliveries, needs
from side_by_side.chatsync_side import ChatsyncSide
from side_by_side.figures import FIGURES, RequestFile, Result, Sizes
from side_by_side.peer_side import PeerSide

SIDES = {"chatsync": ChatsyncSide, "peer": PeerSide}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=",".join(FIGURES))
    parser.add_argument("--side", choices=[*SIDES, "both"], default="both")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--without-statistics", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    small = Sizes(
        flat_out_messages={"chatsync": 3_000, "peer": 2_000},
        latency_seconds=5.0,
        accept_seconds=4,
        drain_messages=5_000,
        analyze=not options.without_statistics,
    )
    sizes = (
        small
        if options.quick
        else Sizes(
            flat_out_messages={"chatsync": 10_000, "peer": 5_000},
            analyze=not options.without_statistics,
        )
    )
    sides = list(SIDES) if options.side == "both" else [options.side]
    needs.provide(sides)
    uvloop.install()
    results: dict[tuple[str, str], list[Result]] = {}
    with tempfile.TemporaryDirectory(prefix="chatsync-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        count = 120_000
        length = deliveries.write(folder / "requests", count)
        file = RequestFile(folder / "requests", length, count)
        for run in range(options.runs):
            for figure in options.only.split(","):
                for side_name in sides if run % 2 == 0 else reversed(sides):
                    place = Path(tempfile.mkdtemp(dir=folder))
                    place.chmod(0o711)
                    with SIDES[side_name](place) as side:
                        result = FIGURES[figure](side, sizes, file)
                    shutil.rmtree(place, ignore_errors=True)
                    results.setdefault((figure, side_name), []).append(result)
                    words = "  ".join(f"{k} {v:.1f}" for k, v in result.items())
                    print(f"run {run + 1}  {figure}  {side_name}: {words}", flush=True)
        if options.json:
            kept = [{"figure": f, "side": s, "runs": r} for (f, s), r in results.items()]
            options.json.write_text(json.dumps(kept, indent=2) + "\n")

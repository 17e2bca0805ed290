"""What the machine must have, and the peer's packages, before anything is measured."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from side_by_side import processes
from side_by_side.processes import BenchmarkError

PEER = Path(__file__).resolve().parent.parent / "peers" / "inbox"

_PROGRAMS = {
    "peer": {"redis-server": "redis-server", "node": "nodejs", "npm": "npm"},
}


def provide(sides: Collection[str], *, wrk: bool) -> None:
    """Install the peer's packages. Raises BenchmarkError naming the programs that are missing."""
    wanted = {"wrk": "wrk"} if wrk else {}
    for side in sides:
        wanted |= _PROGRAMS.get(side, {})
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing:
        names = " and ".join(missing)
        raise BenchmarkError(f"this needs {names}: apt-get install {' '.join(missing)}")
    if "peer" in sides and not _are_installed():
        npm = ("npm", "ci", "--prefix", str(PEER))
        # With all of the environment: the way to the registry may need a proxy or a certificate.
        processes.run([*npm, "--ignore-scripts", "--no-audit", "--no-fund"], os.environ)


def _are_installed() -> bool:
    lock, installed = PEER / "package-lock.json", PEER / "node_modules" / ".package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime

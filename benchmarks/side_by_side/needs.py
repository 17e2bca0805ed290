"""What the machine must have, and the peer's packages, before anything is measured."""

import shutil

from side_by_side import processes
from side_by_side.peer_side import PEER
from side_by_side.processes import BenchmarkError

_PROGRAMS = {
    "chatsync": {"wrk": "wrk"},
    "peer": {"wrk": "wrk", "redis-server": "redis-server", "node": "nodejs", "npm": "npm"},
}


def provide(sides: list[str]) -> None:
    """Install the peer's packages. Raises BenchmarkError naming the programs that are missing."""
    wanted = {program: package for side in sides for program, package in _PROGRAMS[side].items()}
    missing = [package for program, package in wanted.items() if not shutil.which(program)]
    if missing:
        raise BenchmarkError(
            f"this needs {' and '.join(missing)}: apt-get install {' '.join(missing)}"
        )
    lock, installed = PEER / "package-lock.json", PEER / "node_modules" / ".package-lock.json"
    if "peer" in sides and (
        not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime
    ):
        npm = ("npm", "ci", "--prefix", str(PEER))
        processes.run([*npm, "--ignore-scripts", "--no-audit", "--no-fund"])

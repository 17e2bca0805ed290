"""The peers' packages and a Node that is new enough for them, before anything is measured."""

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from side_by_side import processes
from side_by_side.processes import BenchmarkError

PEERS = Path(__file__).resolve().parent.parent / "peers" / "queue"
PYTHON = PEERS / ".venv" / "bin" / "python"
# A package has the program of Node: the one of a distribution is often too old for the peers.
_MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
NODE = PEERS / "node_modules" / f"node-linux-{_MACHINE}" / "bin" / "node"


def provide(programs: Iterable[str], *, redis: bool) -> None:
    """Install what these programs run on. Raises BenchmarkError for what cannot be installed."""
    wanted = set(programs)
    if redis and not shutil.which("redis-server"):
        raise BenchmarkError("this needs redis-server: apt-get install redis-server")
    if str(PYTHON) in wanted:
        _provide_python()
    if str(NODE) in wanted:
        _provide_node()


def _provide_python() -> None:
    requirements, stamp = PEERS / "requirements.txt", PEERS / ".venv" / "installed"
    if _is_newer(stamp, requirements):
        return
    processes.run([sys.executable, "-m", "venv", "--clear", str(PEERS / ".venv")])
    pip = (str(PYTHON), "-m", "pip", "install", "--quiet")
    processes.run([*pip, "-r", str(requirements)], os.environ)
    stamp.touch()


def _provide_node() -> None:
    if not shutil.which("npm"):
        raise BenchmarkError("this needs npm: apt-get install npm")
    if _is_newer(PEERS / "node_modules" / ".package-lock.json", PEERS / "package-lock.json"):
        return
    npm = ("npm", "ci", "--prefix", str(PEERS), "--ignore-scripts", "--no-audit", "--no-fund")
    # With all of the environment: the way to the registry may need a proxy or a certificate.
    processes.run(npm, os.environ)


def _is_newer(installed: Path, wanted: Path) -> bool:
    return installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime

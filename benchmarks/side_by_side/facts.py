"""What was measured, and where: the machine, the revision, and the version of everything."""

import datetime
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import psycopg.pq

from side_by_side.needs import PEER

_PYTHON_PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "websockets", "psycopg")
_NODE_PACKAGES = ("express", "bullmq", "ioredis", "socket.io", "pg")
_ROOT = Path(__file__).resolve().parent.parent.parent


def of_this_run() -> Mapping[str, str]:
    """The command line, the time, the machine and the revision."""
    return {
        "command": shlex.join(["scripts/bench", Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "Linux": platform.release(),
        "revision": _revision(),
    }


def of_programs(sides: Iterable[str]) -> Mapping[str, str]:
    """Versions of what the sides run on, but for the servers, which tell their own."""
    versions = {"Python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PYTHON_PACKAGES}
    versions["libpq"] = f"{_libpq()} ({psycopg.pq.__impl__})"
    if "peer" in sides:
        versions["node"] = _said(["node", "--version"]).removeprefix("v")
        versions |= {name: _node_package(name) for name in _NODE_PACKAGES}
    if shutil.which("wrk"):
        found = re.search(r"wrk (?:debian/)?([\d.]+)", _said(["wrk", "-v"]))
        versions["wrk"] = found[1] if found else "unknown"
    return versions


def _revision() -> str:
    revision = _said(["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"])
    if not revision:
        return metadata.version("chatsync")
    changed = _said(["git", "-C", str(_ROOT), "status", "--porcelain"])
    return f"{revision} with changes" if changed else revision


def _libpq() -> str:
    version = psycopg.pq.version()  # as in PQlibVersion(): 180001 is 18.1
    return f"{version // 10_000}.{version % 10_000}"


def _node_package(name: str) -> str:
    text = (PEER / "node_modules" / name / "package.json").read_text(encoding="utf-8")
    return str(json.loads(text)["version"])


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "0 unknown"


def _said(command: list[str]) -> str:
    """What a program says, whatever its exit code; nothing when it is not there."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip()

"""The processes that run on a PostgreSQL cluster: which they are, and how they are ended.

Trusts no pid file: a process belongs to a cluster when /proc says that it is a postgres that has
the cluster as its working directory, as the postmaster and all its children do.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

PID_FILE = "postmaster.pid"
STATUS_LINE = 7  # of postmaster.pid: LOCK_FILE_LINE_PM_STATUS in PostgreSQL's miscadmin.h, from 0
POLL_SECONDS = 0.02

# A fast shutdown writes a checkpoint, which on a slow disk takes seconds; the others write nothing.
_STAGES = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


def processes_of(cluster: Path) -> set[int]:
    """List the postgres processes that work in this folder, by whatever path they came to it."""
    try:
        place = cluster.stat()
    except FileNotFoundError:
        return set()
    return {
        pid
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))
        if _works_in(pid, place) and is_postgres(pid)
    }


def is_postgres(pid: int) -> bool:
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return False
    return Path(program.removesuffix(" (deleted)")).name == "postgres"


def is_ready(cluster: Path, pid: int) -> bool:
    """Tell whether this postmaster says that it accepts connections."""
    lines = _pid_file_lines(cluster)
    return len(lines) > STATUS_LINE and lines[0] == str(pid) and lines[STATUS_LINE] == "ready"


def end(cluster: Path, *, immediate: bool = False) -> None:
    """End all that runs on a cluster: in good order, else without a checkpoint, else by force."""
    for stage, patience_seconds in _STAGES[immediate:]:
        running = processes_of(cluster)
        if not running:
            break
        head = _written_pid(cluster)
        if head not in running and stage == signal.SIGINT:
            continue  # children that outlived their postmaster take SIGINT for a cancelled query
        targets = {head} if head in running and stage != signal.SIGKILL else running
        for pid in targets:
            _signal(pid, stage)
        wait_until(lambda: not processes_of(cluster), patience_seconds)
    _clear_stale_pid_file(cluster)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return holds


def _works_in(pid: int, place: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/cwd"), place)
    except OSError:  # it has ended, or it is another user's
        return False


def _signal(pid: int | None, stage: signal.Signals) -> None:
    if pid is not None:
        try:
            os.kill(pid, stage)
        except ProcessLookupError:
            return


def _pid_file_lines(cluster: Path) -> list[str]:
    try:
        return [line.strip() for line in (cluster / PID_FILE).read_text().splitlines()]
    except FileNotFoundError:
        return []


def _written_pid(cluster: Path) -> int | None:
    lines = _pid_file_lines(cluster)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _clear_stale_pid_file(cluster: Path) -> None:
    """Remove a pid file that PostgreSQL would believe: cut short, or its number is another's now.

    One whose process is gone stays, because PostgreSQL finds by it what a crash left in memory.
    """
    if processes_of(cluster):
        return
    pid = _written_pid(cluster)
    if pid is None or Path(f"/proc/{pid}").exists():
        (cluster / PID_FILE).unlink(missing_ok=True)

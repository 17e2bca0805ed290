"""CPU time of process trees, from /proc; a process that ended counts through its parent."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name in brackets: proc(5), from 0.
_PARENT, _OWN, _REAPED = 1, slice(11, 13), slice(13, 15)


def seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds so far of each root with all that descends from it."""
    stats = _all_stats()
    children = _children(stats)
    return {name: _tree_ticks(root, stats, children) / _TICKS for name, root in roots.items()}


def fine_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """The same for those that hardly run: to the nanosecond, but for processes that have ended."""
    stats = _all_stats()
    found: dict[str, float] = {}
    for name, root in roots.items():
        ended = sum(int(field) for field in stats[root][_REAPED]) / _TICKS
        found[name] = ended + sum(map(_run_seconds, _tree(root, _children(stats))))
    return found


def _run_seconds(pid: int) -> float:
    """How long the threads of a process have run: the first field of schedstat."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9
    except OSError:  # it has just ended
        return 0.0


def _tree_ticks(
    root: int, stats: Mapping[int, list[str]], children: Mapping[int, list[int]]
) -> int:
    ticks = 0
    for pid in _tree(root, children):
        fields = stats[pid]
        ticks += sum(int(field) for field in (*fields[_OWN], *fields[_REAPED]))
    return ticks


def _tree(root: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    left = [root]
    while left:
        pid = left.pop()
        yield pid
        left.extend(children.get(pid, ()))


def _children(stats: Mapping[int, list[str]]) -> Mapping[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    return children


def _all_stats() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # it has just ended
            continue
        found[int(pid)] = text.rpartition(")")[2].split()
    return found

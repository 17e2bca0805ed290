"""CPU time of process trees, from /proc; a process that ended counts through its parent."""

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name in brackets: proc(5), from 0.
_PARENT, _OWN, _REAPED = 1, slice(11, 13), slice(13, 15)


def seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """User and system seconds so far of each root with all that descends from it."""
    stats = _all_stats()
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    return {name: _tree_ticks(root, stats, children) / _TICKS for name, root in roots.items()}


def _tree_ticks(
    root: int, stats: Mapping[int, list[str]], children: Mapping[int, list[int]]
) -> int:
    ticks = 0
    left = [root]
    while left:
        pid = left.pop()
        fields = stats[pid]
        ticks += sum(int(field) for field in (*fields[_OWN], *fields[_REAPED]))
        left.extend(children.get(pid, ()))
    return ticks


def _all_stats() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # it has just ended
            continue
        found[int(pid)] = text.rpartition(")")[2].split()
    return found

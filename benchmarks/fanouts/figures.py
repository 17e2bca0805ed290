"""The figures: each starts a server, opens its sockets, and says what it cost."""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from side_by_side import cpu, processes
from side_by_side.processes import BenchmarkError, Child

from fanouts import sides
from fanouts.sides import Side

Opener: TypeAlias = Callable[[Path], AbstractContextManager[Side]]
MARK = "message:new"
WARM_UP = 20
BURST = 10


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    sockets: int = 500
    singles: int = 300
    bursts: int = 100
    idle: int = 5000
    timed: int = 200


QUICK = Sizes(sockets=50, singles=30, bursts=10, idle=200, timed=30)


class Sockets:
    """The process that holds the subscribers of a side."""

    def __init__(self, side: Side, child: Child, reading: int) -> None:
        self._side = side
        self._child = child
        self._reading = reading
        self._published = 0

    def publish(self, count: int) -> None:
        """Publish so many events at once, and return when all who read have them."""
        self._side.publish(count)
        self._published += count
        answer = self._ask(f"until {self._published * self._reading}")
        if answer != "reached":
            wanted = self._published * self._reading
            raise BenchmarkError(f"after 60 s {answer} of {wanted} deliveries have arrived")

    def latencies(self) -> list[float]:
        """Milliseconds from publication to arrival, of all since the last time."""
        return json.loads(self._ask("latencies"))

    def _ask(self, line: str) -> str:
        assert self._child.process.stdin is not None
        assert self._child.process.stdout is not None
        self._child.process.stdin.write(f"{line}\n".encode())
        self._child.process.stdin.flush()
        return self._child.process.stdout.readline().decode().strip()


@contextmanager
def _opened(
    open_side: Opener, count: int, *, stalled: int = 0, is_timed: bool = False
) -> Iterator[tuple[Side, Sockets, int]]:
    """A side with its sockets live, and the memory of its process before they came."""
    with (
        tempfile.TemporaryDirectory(prefix="chatsync-fanout-") as name,
        processes.ending() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # nginx started by root works as another user
        side = stack.enter_context(open_side(folder))
        time.sleep(0.5)
        before = _memory_kib(side.pid)
        program = [sys.executable, str(Path(__file__).with_name("subscribers.py"))]
        child = processes.start("sockets", program, folder, talks=True)
        stack.callback(child.stop)
        plan = {
            "port": side.port,
            "sockets": count,
            "stalled": stalled,
            "mark": MARK,
            "timed": is_timed,
            **{
                part: getattr(side.dialect, part).decode("latin-1")
                for part in ("upgrade", "hello", "confirmed", "ping", "pong")
            },
        }
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        child.process.stdin.write((json.dumps(plan) + "\n").encode())
        child.process.stdin.flush()
        if child.process.stdout.readline() != b"live\n":
            raise BenchmarkError(f"the sockets could not be opened: {child.cause()}")
        yield side, Sockets(side, child, count - stalled), before


def _cost(open_side: Opener, sockets: int, rounds: int, burst: int) -> float:
    with _opened(open_side, sockets) as (side, subscribers, _):
        for _ in range(WARM_UP):
            subscribers.publish(burst)
        before = cpu.fine_seconds({"": side.pid})[""]
        for _ in range(rounds):
            subscribers.publish(burst)
        spent = cpu.fine_seconds({"": side.pid})[""] - before
    return spent / (rounds * burst * sockets) * 1e6


def single(open_side: Opener, sizes: Sizes) -> dict[str, float]:
    """Microseconds of the process that owns the sockets, for each event delivered to a socket."""
    return {"µs a delivery, one event at a time": _cost(open_side, sizes.sockets, sizes.singles, 1)}


def burst(open_side: Opener, sizes: Sizes) -> dict[str, float]:
    return {"µs a delivery, ten at once": _cost(open_side, sizes.sockets, sizes.bursts, BURST)}


def memory(open_side: Opener, sizes: Sizes) -> dict[str, float]:
    """KiB that an idle session adds to the process, all of its private memory."""
    with _opened(open_side, sizes.idle) as (side, _, before):
        time.sleep(2)
        return {"KiB an idle session": (_memory_kib(side.pid) - before) / sizes.idle}


def stalled(open_side: Opener, sizes: Sizes) -> dict[str, float]:
    """The p99 of those who read, with a tenth of the sockets not reading, over without."""
    found: dict[str, float] = {}
    p99: list[float] = []
    for share in (0, 10):
        idle = sizes.sockets * share // 100
        with _opened(open_side, sizes.sockets, stalled=idle, is_timed=True) as (side, sockets, _):
            for _ in range(WARM_UP):
                sockets.publish(BURST)
            sockets.latencies()
            before = _memory_kib(side.pid)
            for _ in range(sizes.timed):
                sockets.publish(BURST)
            p99.append(statistics.quantiles(sockets.latencies(), n=100)[98])
            found[f"p99 in ms, {share} % stalled"] = p99[-1]
            found[f"MiB grown, {share} % stalled"] = (_memory_kib(side.pid) - before) / 1024
    found["p99 over without"] = p99[1] / p99[0]
    return found


FIGURES = {"single": single, "burst": burst, "memory": memory, "stalled": stalled}


def _memory_kib(pid: int) -> int:
    """What a process and its children hold for themselves."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(_private_kib, [pid, *map(int, children)]))


def _private_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


OPENERS = sides.OPENERS

"""The four figures, each measured on one side that is fresh."""

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from side_by_side import cpu, processes
from side_by_side.clients import Posters, Tally, subscribe
from side_by_side.deliveries import requests
from side_by_side.processes import BenchmarkError
from side_by_side.side import Side

Result: TypeAlias = dict[str, float]

_LUA = Path(__file__).with_name("accept.lua")
CONNECTIONS = 32
WARM_UP = 1_000  # node compiles what is hot, pools open, plans are cached
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured in one run."""

    sockets: int = 10
    flat_out_messages: Mapping[str, int] = None  # type: ignore[assignment]
    latency_rate: float = 100.0
    latency_seconds: float = 15.0
    accept_seconds: int = 10
    drain_messages: int = 20_000
    analyze: bool = True


@dataclass(frozen=True, slots=True)
class RequestFile:
    """Requests that were written before, each of one length."""

    path: Path
    length: int
    count: int


def flat_out(side: Side, sizes: Sizes, _file: RequestFile) -> Result:
    """Webhook to socket, as fast as it goes: the last message on the last socket ends it."""
    side.start(with_worker=True)
    return asyncio.run(_flat_out(side, sizes))


async def _flat_out(side: Side, sizes: Sizes) -> Result:
    count = sizes.flat_out_messages[side.name]
    tally, posters = await _warmed_up(side, sizes)
    measured = list(requests(WARM_UP, count))
    before, own = cpu.seconds(side.roots()), time.process_time()
    waiting = asyncio.create_task(tally.until(WARM_UP + count, PATIENCE_SECONDS))
    began = await posters.flat_out(measured)
    answered = time.monotonic()
    await waiting
    elapsed = tally.last_at - began
    used = cpu.spent(before, cpu.seconds(side.roots()))
    posters.close()
    return {
        "messages_per_second": count / elapsed,
        "accepted_per_second": count / (answered - began),
        "server_cpu_us": sum(used.values()) / count * 1e6,
        **{f"cpu_us_{name}": value / count * 1e6 for name, value in used.items()},
        "cpu_us_driver": (time.process_time() - own) / count * 1e6,
    }


def latency(side: Side, sizes: Sizes, _file: RequestFile) -> Result:
    """From the sending of a webhook to its message on each socket, at an even and modest rate."""
    side.start(with_worker=True)
    return asyncio.run(_latency(side, sizes))


async def _latency(side: Side, sizes: Sizes) -> Result:
    count = int(sizes.latency_rate * sizes.latency_seconds)
    tally, posters = await _warmed_up(side, sizes)
    seen: list[tuple[int, float]] = []
    tally.seen_at = lambda number, at: seen.append((number, at))
    measured = list(requests(WARM_UP, count))
    before = cpu.seconds(side.roots())
    sent_at = await posters.evenly(measured, sizes.latency_rate)
    await tally.until(WARM_UP + count, PATIENCE_SECONDS)
    used = cpu.spent(before, cpu.seconds(side.roots()))
    posters.close()
    delays = [(at - sent_at[number - WARM_UP]) * 1000 for number, at in seen]
    cuts = statistics.quantiles(delays, n=1000, method="inclusive")
    return {
        "median_ms": cuts[499],
        "p90_ms": cuts[899],
        "p99_ms": cuts[989],
        "max_ms": max(delays),
        "server_cpu_us": sum(used.values()) / count * 1e6,
    }


def accept(side: Side, sizes: Sizes, file: RequestFile) -> Result:
    """Webhooks that are answered 200 while nobody works on them."""
    side.start(with_worker=False)
    warm_up, _ = _wrk(side, file, 0, 2)
    before = cpu.seconds(side.roots())
    accepted, seconds = _wrk(side, file, file.count // 4, sizes.accept_seconds)
    used = cpu.spent(before, cpu.seconds(side.roots()))
    queued = side.queued()
    if not warm_up + accepted <= queued <= warm_up + accepted + 2 * CONNECTIONS:
        raise BenchmarkError(f"{warm_up + accepted} were answered 200, and {queued} are queued")
    return {
        "accepted_per_second": accepted / seconds,
        "server_cpu_us": sum(used.values()) / accepted * 1e6,
        **{f"cpu_us_{name}": value / accepted * 1e6 for name, value in used.items()},
    }


def drain(side: Side, sizes: Sizes, _file: RequestFile) -> Result:
    """What is queued becomes conversations, messages and events."""
    count = sizes.drain_messages
    if sizes.analyze:
        side.start(with_worker=True)
        asyncio.run(_fill(side, 0, WARM_UP))
        _await_count(side.finished, WARM_UP)
        side.analyze()
        side.pause()
        time.sleep(1)
        done = WARM_UP
    else:
        side.start(with_worker=False)
        done = 0
    asyncio.run(_fill(side, done, count))
    if side.queued() != count:
        raise BenchmarkError(f"{side.queued()} are queued instead of {count}")
    before = cpu.seconds(side.roots())
    side.resume()
    _await_count(side.stored, done + count)
    _await_count(side.finished, done + count)
    seconds = time.time() - float(side.first_stored_at(done))
    after = cpu.seconds(side.roots())
    used = cpu.spent({name: before.get(name, 0.0) for name in after}, after)
    return {
        "messages_per_second": count / seconds,
        "server_cpu_us": sum(used.values()) / count * 1e6,
        **{f"cpu_us_{name}": value / count * 1e6 for name, value in used.items()},
    }


FIGURES: Mapping[str, Callable[[Side, Sizes, RequestFile], Result]] = {
    "flat-out": flat_out,
    "latency": latency,
    "accept": accept,
    "drain": drain,
}


async def _warmed_up(side: Side, sizes: Sizes) -> tuple[Tally, Posters]:
    tally, posters = Tally(sizes.sockets), Posters(CONNECTIONS)
    await subscribe(side.port, side.dialect(), tally)
    await _fill(side, 0, WARM_UP)
    await tally.until(WARM_UP, PATIENCE_SECONDS)
    if sizes.analyze:
        side.analyze()
    await posters.connect(side.port)
    return tally, posters


async def _fill(side: Side, first: int, count: int) -> None:
    posters = Posters(CONNECTIONS)
    await posters.connect(side.port)
    await posters.flat_out(list(requests(first, count)))
    posters.close()


def _await_count(counted: Callable[[], int], count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := counted()) < count:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{found} of {count} messages came out of the queue")
        time.sleep(0.01)


def _wrk(side: Side, file: RequestFile, first: int, seconds: int) -> tuple[int, float]:
    """Post for some seconds; returns how many were accepted, and how long it took."""
    said = processes.run(
        [
            *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(_LUA)),
            *(f"http://127.0.0.1:{side.port}/", "--"),
            *(str(file.path), str(file.length), str(first)),
        ]
    )
    result = next(line for line in said.splitlines() if line.startswith("result "))
    accepted, microseconds, failed = (int(part) for part in result.split()[1:])
    if failed:
        raise BenchmarkError(f"{failed} webhooks were not answered 200")
    if first + accepted >= file.count:
        raise BenchmarkError("the file of requests is too short for this speed")
    return accepted, microseconds / 1e6

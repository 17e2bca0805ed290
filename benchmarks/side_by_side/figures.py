"""The figures, each measured on one side that is fresh."""

import statistics
import time
from asyncio import create_task
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import uvloop

from side_by_side import cpu, processes
from side_by_side.deliveries import PHONE_NUMBER_IDS, requests
from side_by_side.posters import Posters
from side_by_side.processes import PATIENCE_SECONDS, BenchmarkError
from side_by_side.side import Side
from side_by_side.sizes import (
    CONNECTIONS,
    WARM_UP_MESSAGES,
    WARM_UP_SECONDS,
    RequestFile,
    Sizes,
)
from side_by_side.subscribers import Tally, subscribe

Result: TypeAlias = dict[str, float]

_LUA = Path(__file__).with_name("accept.lua")


def flat_out(side: Side, name: str, sizes: Sizes, _file: RequestFile) -> Result:
    """Webhook to socket, as fast as it goes: the last message on the last socket ends it."""
    side.start(with_worker=True)
    return uvloop.run(_flat_out(side, sizes, sizes.flat_out_messages[name]))


async def _flat_out(side: Side, sizes: Sizes, count: int) -> Result:
    tally, posters = await _warmed_up(side, sizes)
    measured = list(requests(WARM_UP_MESSAGES, count))
    before, own = cpu.seconds(side.roots()), time.process_time()
    waiting = create_task(tally.until(WARM_UP_MESSAGES + count, PATIENCE_SECONDS))
    began = await posters.flat_out(measured)
    answered = time.monotonic()
    await waiting
    elapsed = tally.last_at - began
    used = _cpu_us(before, side, count)
    posters.close()
    return {
        "messages_per_second": count / elapsed,
        "accepted_per_second": count / (answered - began),
        **used,
        "cpu_us_driver": (time.process_time() - own) / count * 1e6,
    }


def latency(side: Side, _name: str, sizes: Sizes, _file: RequestFile) -> Result:
    """From the sending of a webhook to its message on each socket, at an even and modest rate."""
    side.start(with_worker=True)
    return uvloop.run(_latency(side, sizes))


async def _latency(side: Side, sizes: Sizes) -> Result:
    count = int(sizes.latency_rate * sizes.latency_seconds)
    tally, posters = await _warmed_up(side, sizes)
    seen: list[tuple[int, float]] = []
    tally.seen_at = lambda number, at: seen.append((number, at))
    measured = list(requests(WARM_UP_MESSAGES, count))
    before, own = cpu.seconds(side.roots()), time.process_time()
    sent_at = await posters.evenly(measured, sizes.latency_rate)
    await tally.until(WARM_UP_MESSAGES + count, PATIENCE_SECONDS)
    used = _cpu_us(before, side, count)
    posters.close()
    delays = [(at - sent_at[number - WARM_UP_MESSAGES]) * 1000 for number, at in seen]
    return {
        **_spread(delays),
        **used,
        "cpu_us_driver": (time.process_time() - own) / count * 1e6,
    }


def accept(side: Side, _name: str, sizes: Sizes, file: RequestFile) -> Result:
    """Webhooks that are answered 200 while nobody works on them."""
    side.start(with_worker=False)
    warm_up, _ = _wrk(side, file, 0, WARM_UP_SECONDS)
    before = cpu.seconds(side.roots())
    accepted, seconds = _wrk(side, file, sizes.first_measured, sizes.accept_seconds)
    used = _cpu_us(before, side, accepted)
    queued = side.queued()
    # wrk leaves with a request under way on each connection, in each of its two runs.
    if not warm_up + accepted <= queued <= warm_up + accepted + 2 * CONNECTIONS:
        raise BenchmarkError(f"{warm_up + accepted} were answered 200, and {queued} are queued")
    return {"accepted_per_second": accepted / seconds, **used}


def drain(side: Side, _name: str, sizes: Sizes, _file: RequestFile) -> Result:
    """What is queued for one inbox becomes conversations, messages and events."""
    return _drain(side, sizes, 1)


def drain_inboxes(side: Side, _name: str, sizes: Sizes, _file: RequestFile) -> Result:
    """The same of several inboxes: what is of different ones needs no common order."""
    return _drain(side, sizes, len(PHONE_NUMBER_IDS))


def _drain(side: Side, sizes: Sizes, inboxes: int) -> Result:
    done, count = 0, sizes.drain_messages
    if sizes.has_statistics:
        side.start(with_worker=True)
        done = WARM_UP_MESSAGES
        uvloop.run(_fill(side, 0, done, inboxes))
        _await_count(side.finished, done)
        side.analyze()
        side.pause()
    else:
        side.start(with_worker=False)
    uvloop.run(_fill(side, done, count, inboxes))
    if side.queued() != count:
        raise BenchmarkError(f"{side.queued()} are queued instead of {count}")
    before = cpu.seconds(side.roots())
    side.resume()
    _await_count(side.stored, done + count)
    _await_count(side.finished, done + count)
    seconds = time.time() - side.first_stored_at(done)
    return {"messages_per_second": count / seconds, **_cpu_us(before, side, count)}


Figure: TypeAlias = Callable[[Side, str, Sizes, RequestFile], Result]

FIGURES: Mapping[str, Figure] = {
    "flat-out": flat_out,
    "latency": latency,
    "accept": accept,
    "drain": drain,
    "drain-inboxes": drain_inboxes,
}


def _cpu_us(before: Mapping[str, float], side: Side, count: int) -> Result:
    """Microseconds of each of a side's servers for one message; one that is new began at 0."""
    after = cpu.seconds(side.roots())
    used = {name: (spent - before.get(name, 0.0)) / count * 1e6 for name, spent in after.items()}
    return {
        "cpu_us_servers": sum(used.values()),
        **{f"cpu_us_{name}": value for name, value in used.items()},
    }


def _spread(delays: Sequence[float]) -> Result:
    cuts = statistics.quantiles(delays, n=1000, method="inclusive")
    return {
        "median_ms": cuts[499],
        "p90_ms": cuts[899],
        "p99_ms": cuts[989],
        "max_ms": max(delays),
    }


async def _warmed_up(side: Side, sizes: Sizes) -> tuple[Tally, Posters]:
    tally, posters = Tally(sizes.sockets), Posters(CONNECTIONS)
    await subscribe(side.port, side.dialect(), tally)
    await _fill(side, 0, WARM_UP_MESSAGES)
    await tally.until(WARM_UP_MESSAGES, PATIENCE_SECONDS)
    if sizes.has_statistics:
        side.analyze()
    await posters.connect(side.port)
    return tally, posters


async def _fill(side: Side, first: int, count: int, inboxes: int = 1) -> None:
    posters = Posters(CONNECTIONS)
    await posters.connect(side.port)
    await posters.flat_out(list(requests(first, count, inboxes)))
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
    result = next((line for line in said.splitlines() if line.startswith("result ")), None)
    if result is None:
        raise BenchmarkError(f"wrk told no result: {processes.telling_line(said)}")
    accepted, microseconds, failed = (int(part) for part in result.split()[1:])
    if failed:
        raise BenchmarkError(f"{failed} webhooks were not answered 200")
    if first + accepted >= file.count:
        raise BenchmarkError("the file of requests is too short for this speed")
    return accepted, microseconds / 1e6

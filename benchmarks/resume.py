"""Sessions that are dropped at once, miss some events each, and resume: how long, and what is read.

    scripts/bench resume [--runs N] [--sessions N] [--events N] [--tenants 1,10,100] [--devices]
        [--quick] [--json FILE]

One gateway process. The clock runs from the first reconnect until every session has every event;
reads are those of the log by the gateway (chatsync_feed_reads_total), processor time is what
was spent in this time by each program. Clients share a process.
"""

import argparse
import asyncio
import re
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deliveries.stage import SECRET, Stage, opened
from side_by_side import cpu, facts, postgres, processes
from side_by_side.processes import BenchmarkError
from side_by_side.results import Results
from side_by_side.subscribers import text_frame, upgrade
from wakeups.report import report, words

from chatsync.gateway.auth import mint

TITLES = {"resume": "resume: all dropped at once, all resumed with all that they missed"}
PATIENCE_SECONDS = 90.0
AT_ONCE = 200  # handshakes under way; more only wait in the backlog of the gateway's socket
_CURSOR = re.compile(rb'"cursor":"([^"]+)"')
_SEQ = b'"seq":'
_READS = re.compile(r'^chatsync_feed_reads_total\{reason="(\w+)"\} (\S+)', re.MULTILINE)


@dataclass(slots=True)
class Session:
    """One client, that keeps its cursor."""

    port: int
    token: str
    device: str | None
    cursor: str = ""
    writer: asyncio.StreamWriter | None = None

    async def connect(self, events: int) -> None:
        """Return once connected, with so many events."""
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(upgrade("/ws", f"Authorization: Bearer {self.token}"))
        await reader.readuntil(b"\r\n\r\n")
        cursor = f',"cursor":"{self.cursor}"' if self.cursor else ""
        device = f',"device":"{self.device}"' if self.device else ""
        self.writer.write(text_frame(f'{{"type":"connect"{cursor}{device}}}'))
        data = b""
        while b'"connected"' not in data or data.count(_SEQ) < events:
            more = await reader.read(65_536)
            if not more:
                raise BenchmarkError(f"a session was refused: {data[-200:]!r}")
            data += more
        found = _CURSOR.search(data)
        if found is None or (self.cursor and b'"recovered":true' not in data):
            raise BenchmarkError(f"a session was not resumed: {data[:300]!r}")
        self.cursor = self.cursor or found[1].decode()

    def drop(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()


def main() -> None:
    options = _options()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = Results(facts.of_this_run("resume"), facts.of_programs(()))
    for run in range(1, options.runs + 1):
        for tenants in options.tenants:
            with (
                processes.ending() as stack,
                tempfile.TemporaryDirectory(prefix="chatsync-resume-") as folder,
            ):
                stage = opened(
                    Path(folder), stack, CHATSYNC_UNAUTHENTICATED_PER_ADDRESS=str(options.sessions)
                )
                results.facts["server"] = stage.server_facts()
                database = stage.connected(stack)
                database.execute("set role chatsync_owner")
                result = asyncio.run(_resume(stage, database, tenants, options))
            side = f"{tenants} tenant{'s' if tenants > 1 else ''}"
            results.add("resume", side, result)
            _say(f"run {run}, {side}: {words(result)}")
            if options.json:
                results.write(options.json)
    print(report(results, TITLES))


async def _resume(
    stage: Stage, database: postgres.Connection, tenants: int, options: argparse.Namespace
) -> dict[str, float]:
    count, events = options.sessions, options.events
    for number in range(1, tenants + 1):
        database.execute("select chatsync.create_tenant(%s)", [f"t{number}"])
    sessions = [
        Session(
            stage.port,
            _token(f"t{number % tenants + 1}", f"u{number // tenants // 20}"),
            f"d{number}" if options.devices else None,
        )
        for number in range(count)
    ]
    await _connect(sessions, 0)
    for session in sessions:
        session.drop()
    database.execute(
        "select chatsync.publish('t' || t, array['tenant:t' || t], 'test',"
        " jsonb_build_object('n', n, 'text', repeat('word ', 40)))"
        " from generate_series(1, %s) n, generate_series(1, %s) t",
        [events, tenants],
    )
    await asyncio.to_thread(_until_stamped, database)
    before = await asyncio.to_thread(_reads, stage.port)
    spent_before = _spent(stage)
    began = time.monotonic()
    await _connect(sessions, events)
    took = time.monotonic() - began
    spent = _spent(stage)
    after = await asyncio.to_thread(_reads, stage.port)
    for session in sessions:
        session.drop()
    reads = {f"reads_{name}": after[name] - before.get(name, 0) for name in after}
    costs = {
        f"{name}_cpu_a_session_ms": (spent[name] - spent_before[name]) * 1000 / count
        for name in spent
    }
    return {"seconds": took, "sessions": count, **costs, **reads, "reads": sum(reads.values())}


def _spent(stage: Stage) -> dict[str, float]:
    """Seconds of processor time so far, by program."""
    return cpu.seconds(stage.pids) | {"clients": time.process_time()}


def _until_stamped(database: postgres.Connection) -> None:
    """Until all events have a number, and the gateway has looked at them if it wants to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while postgres.number(database, "select chatsync.outbox_waiting()::int"):
        if time.monotonic() > deadline:
            raise BenchmarkError("the gateway does not number events")
        time.sleep(0.1)
    time.sleep(2)


async def _connect(sessions: Sequence[Session], events: int) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def connect(session: Session) -> None:
        async with room:
            await session.connect(events)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(connect(session) for session in sessions))


def _token(tenant: str, user: str) -> str:
    return mint(SECRET, tenant_id=tenant, user_id=user, role="agent", ttl_seconds=3600)


def _reads(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return {name: float(value) for name, value in _READS.findall(answer.read().decode())}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench resume", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=3, help="how often each is measured (3)")
    add("--sessions", type=int, default=5000, help="how many are dropped (5000)")
    add("--events", type=int, default=100, help="how many each misses (100)")
    add("--tenants", type=_numbers, default=[1, 10, 100], help="of how many tenants (1,10,100)")
    add("--devices", action="store_true", help="each has a device that keeps its receipt")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    add("--json", type=Path, metavar="FILE", help="write each run and the medians, too")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.sessions = 1, 200
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _say(sentence: str) -> None:
    print(f"scripts/bench resume: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

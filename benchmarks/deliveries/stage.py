"""A gateway with its PostgreSQL, and how long events, or rows in its stead, are on their way.

Producer, subscribers and the floor's reader are processes of their own, which do little more than
read a clock. All clocks are the machine's own, so that times of different processes compare.
"""

import http.client
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from side_by_side import cpu, postgres, processes
from side_by_side.processes import BenchmarkError, Child

from chatsync.migrate import migrate

SECRET = "the-benchmark-signs-its-tokens-with-this"
SETTLE_SECONDS = 1.0
# The first are not counted: plans are made and caches filled.
WARM_UP_SECONDS = 1.0
_PROGRAMS = Path(__file__).parent
_MEANS = ("commit_to_stamp", "stamp_to_gateway", "gateway_to_write")


@dataclass(frozen=True, slots=True)
class Load:
    """Events in a second, how long, and how many subscribers each of them has."""

    rate: int
    seconds: float
    sockets: int

    @property
    def count(self) -> int:
        return int(self.rate * (self.seconds + WARM_UP_SECONDS))


@dataclass(frozen=True, slots=True)
class Commits:
    """When each event's commit was asked for, and when it was answered."""

    asked: Mapping[int, float]
    answered: Mapping[int, float]
    # Less than was wanted where a client's connections had to wait for each other.
    per_second: float


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds by stage, of each event or delivery; and CPU seconds, or means, by name."""

    events_per_second: float
    stages: Mapping[str, Sequence[float]]
    cpu: Mapping[str, float]
    means: Mapping[str, float]


class Stage:
    """Measures one side at a time."""

    def __init__(
        self, server: postgres.EmbeddedPostgres, gateway: Child, port: int, token: str, folder: Path
    ) -> None:
        self._server = server
        self._token = token
        self.port = port
        # Of what works for chatsync, by name.
        self.pids = {"gateway": gateway.pid, "postgres": server.pid}
        self._folder = folder
        self._next = 1
        self._started = 0

    def connected(self, stack: ExitStack) -> postgres.Connection:
        return postgres.connected(self._server.url, stack)

    def server_facts(self) -> Mapping[str, str]:
        with ExitStack() as stack:
            return postgres.facts(self.connected(stack))

    def chatsync(self, load: Load) -> Found:
        """From each commit to its event at each of the sockets."""
        before = _metrics(self.port)
        commits, told, spent = self._measure(
            "chatsync",
            load,
            "subscribers",
            [str(self.port), self._token, str(load.sockets)],
            self.pids,
        )
        stamped = self._stamped(min(commits.asked))
        asked, answered = commits.asked, commits.answered
        arrived = [_arrived(came, asked) for came in told]
        stages = {
            "commit": [answered[n] - at for n, at in asked.items()],
            "commit_to_stamp": [max(0.0, stamped[n] - answered[n]) for n in asked],
            "stamp_to_socket": [one[n] - stamped[n] for one in arrived for n in asked],
            "answer_to_socket": [one[n] - answered[n] for one in arrived for n in asked],
            "whole": [one[n] - at for one in arrived for n, at in asked.items()],
        }
        return Found(commits.per_second, stages, spent, _means(before, _metrics(self.port)))

    def _stamped(self, first: int) -> Mapping[int, float]:
        with ExitStack() as stack:
            connection = self.connected(stack)
            connection.execute(b"set role chatsync_owner")
            rows = connection.execute(
                b"select (data->>'n')::int, extract(epoch from stamped_at)::float8"
                b" from chatsync.event_log where (data->>'n')::int >= %s",
                [first],
            ).fetchall()
        return dict(rows)  # type: ignore[arg-type]

    def floor(self, load: Load) -> Found:
        """From each commit to the end of the read that NOTIFY brought about."""
        with ExitStack() as stack:
            connection = self.connected(stack)
            connection.execute(b"drop table if exists public.floor")
            connection.execute(b"create table public.floor (n int primary key, text text)")
        roots = {"postgres": self._server.pid}
        commits, told, spent = self._measure("floor", load, "floor", [], roots)
        asked, answered = commits.asked, commits.answered
        arrived = _arrived(told, asked)
        stages = {
            "commit": [answered[n] - at for n, at in asked.items()],
            "answer_to_read": [max(0.0, arrived[n] - answered[n]) for n in asked],
            "whole": [arrived[n] - at for n, at in asked.items()],
        }
        return Found(commits.per_second, stages, spent, {})

    def _measure(
        self, way: str, load: Load, reader: str, arguments: Sequence[str], roots: Mapping[str, int]
    ) -> tuple[Commits, Any, dict[str, float]]:
        first, self._next = self._next, self._next + load.count
        with processes.ending() as stack:
            reading = self._start(stack, reader, *arguments)
            reading.await_that(lambda: reading.said("ready") > 0)
            time.sleep(SETTLE_SECONDS)
            before = cpu.fine_seconds(roots)
            producing = self._start(
                stack, "producer", way, str(first), str(load.count), str(load.rate)
            )
            _await_end(producing, load.seconds + 30)
            time.sleep(SETTLE_SECONDS)
            after = cpu.fine_seconds(roots)
            reading.stop()
        said = json.loads(_file(producing).read_text())
        warm = first + int(load.rate * WARM_UP_SECONDS)
        counted = [entry for entry in said["committed"] if entry[0] >= warm]
        commits = Commits(
            {n: at for n, at, _ in counted},
            {n: at for n, _, at in counted},
            load.count / said["took"],
        )
        spent = {name: (after[name] - before[name]) / load.count for name in roots}
        return commits, json.loads(_file(reading).read_text()), spent

    def _start(self, stack: ExitStack, program: str, *arguments: str) -> Child:
        self._started += 1
        name = f"{program}-{self._started}"
        file = self._folder / f"{name}.json"
        environment = {"CHATSYNC_DATABASE_URL": self._server.url}
        command = [sys.executable, str(_PROGRAMS / f"{program}.py"), *arguments, str(file)]
        child = processes.start(name, command, self._folder, environment)
        stack.callback(child.stop)
        return child


def _file(child: Child) -> Path:
    return child.log.with_suffix(".json")


def _await_end(child: Child, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while child.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if child.process.poll() != 0:
        raise BenchmarkError(f"{child.name} did not end: {child.cause()}")


def _arrived(came: Iterable[tuple[int, float]], committed: Mapping[int, float]) -> dict[int, float]:
    """When each event came to a socket. Raises BenchmarkError unless each came, once."""
    came = [(n, at) for n, at in came if n in committed]
    arrived = dict(came)
    if len(arrived) != len(came) or len(arrived) != len(committed):
        raise BenchmarkError(f"of {len(committed)} events {len(arrived)} came, {len(came)} times")
    return arrived


def _metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {name: float(value) for name, value in re.findall(r"^(chatsync_\w+) (\S+)$", text, re.M)}


def _means(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What the gateway itself counted meanwhile, a read of the log at a time."""
    means: dict[str, float] = {}
    for name in _MEANS:
        total, count = (
            after[f"chatsync_{name}_seconds_{part}"] - before[f"chatsync_{name}_seconds_{part}"]
            for part in ("sum", "count")
        )
        means[name] = total / count if count else 0.0
    return means


def opened(folder: Path, stack: ExitStack, **settings: str) -> Stage:
    """A gateway process on a PostgreSQL of its own, with the tenant t1."""
    server = postgres.started(folder, stack)
    migrate(server.url)
    port = processes.free_port()
    environment = {
        "CHATSYNC_DATABASE_URL": server.url,
        "CHATSYNC_JWT_SECRET": SECRET,
        "CHATSYNC_PORT": str(port),
        **settings,
    }
    command = [sys.executable, "-m", "chatsync"]
    processes.run([*command, "tenant", "create", "t1"], environment)
    token = processes.run([*command, "token", "--tenant", "t1", "--user", "agent"], environment)
    gateway = processes.start("serve", [*command, "serve"], folder, environment)
    stack.callback(gateway.stop)
    gateway.await_that(lambda: _is_ready(port))
    return Stage(server, gateway, port, token, folder)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()

"""A gateway with its PostgreSQL, and how long events, or rows in its stead, are on their way.

All clocks are the machine's own, so that times of different processes compare. Producer and
subscribers share a process: what they cost comes on top of every figure, the floor's, too.
"""

import asyncio
import http.client
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
from side_by_side import postgres, processes
from side_by_side.processes import BenchmarkError
from side_by_side.subscribers import text_frame, upgrade

from chatsync.migrate import migrate

SECRET = "the-benchmark-signs-its-tokens-with-this"
CONNECTIONS = 4
SETTLE_SECONDS = 2.0
_NUMBER = re.compile(rb'"n":\s?(\d+)')
_TEXT = "so many words as a person writes who has a question about an order " * 3

Write = Callable[[psycopg.AsyncConnection, int], Awaitable[object]]


class Stage:
    """Measures one side at a time."""

    def __init__(
        self, url: str, port: int, token: str, pids: Mapping[str, int], stack: ExitStack
    ) -> None:
        self.url, self.port, self._token = url, port, token
        # Of the programs that work for it, by name.
        self.pids = pids
        self.database = postgres.connected(url, stack)
        self.database.execute("set role chatsync_owner")
        self._next = 1

    def chatsync(self, rate: int, seconds: float, sockets: int) -> Mapping[str, Sequence[float]]:
        """Seconds of each delivery by stage: to each socket, of each event."""
        return asyncio.run(self._chatsync(rate, seconds, sockets))

    def floor(self, rate: int, seconds: float) -> Sequence[float]:
        return asyncio.run(self._floor(rate, seconds))

    async def _chatsync(
        self, rate: int, seconds: float, sockets: int
    ) -> Mapping[str, Sequence[float]]:
        arrived: dict[int, list[float]] = {}
        readers = [asyncio.create_task(self._subscribe(arrived)) for _ in range(sockets)]
        await asyncio.sleep(SETTLE_SECONDS)

        async def publish(connection: psycopg.AsyncConnection, number: int) -> None:
            await connection.execute(
                "select chatsync.publish('t1', array['tenant:t1'], 'test',"
                " jsonb_build_object('n', %s::int, 'text', %s::text))",
                [number, _TEXT],
            )

        committed = await self._produce(publish, rate, seconds, "set role chatsync_worker")
        await asyncio.sleep(SETTLE_SECONDS)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        rows = self.database.execute(
            "select (data->>'n')::int, extract(epoch from stamped_at)::float8"
            " from chatsync.event_log where (data->>'n')::int >= %s",
            [min(committed)],
        ).fetchall()
        stamped: dict[int, float] = {row[0]: row[1] for row in rows}  # type: ignore[misc]
        if any(len(arrived.get(number, [])) != sockets for number in committed):
            raise BenchmarkError("not all events came to all sockets")
        return {
            "commit_to_stamp": [max(0.0, stamped[n] - at) for n, at in committed.items()],
            "stamp_to_socket": [at - stamped[n] for n in committed for at in arrived[n]],
            "commit_to_socket": [at - committed[n] for n in committed for at in arrived[n]],
        }

    async def _subscribe(self, arrived: dict[int, list[float]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(upgrade("/ws", f"Authorization: Bearer {self._token}"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text_frame('{"type":"connect"}'))
        rest = b""
        try:
            while data := await reader.read(65_536):
                now, end = time.time(), 0
                buffer = rest + data
                for match in _NUMBER.finditer(buffer):
                    # A number at the very end may go on in what is to come.
                    if match.end() < len(buffer):
                        arrived.setdefault(int(match[1]), []).append(now)
                        end = match.end()
                rest = buffer[max(end, len(buffer) - 32) :]
        finally:
            writer.close()

    async def _floor(self, rate: int, seconds: float) -> Sequence[float]:
        arrived: dict[int, float] = {}
        self.database.execute("set role none")
        self.database.execute("drop table if exists public.floor")
        self.database.execute("create table public.floor (n int primary key, text text)")
        self.database.execute("set role chatsync_owner")
        reading = asyncio.create_task(self._read_floor(arrived))
        await asyncio.sleep(SETTLE_SECONDS)

        async def write(connection: psycopg.AsyncConnection, number: int) -> None:
            await connection.execute("insert into public.floor values (%s, %s)", [number, _TEXT])

        committed = await self._produce(write, rate, seconds, "set role none", "notify floor")
        await asyncio.sleep(SETTLE_SECONDS)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        return [max(0.0, arrived[n] - at) for n, at in committed.items()]

    async def _read_floor(self, arrived: dict[int, float]) -> None:
        async with (
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as listener,
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as query,
        ):
            await listener.execute("listen floor")
            newest = 0
            async for _ in listener.notifies():
                # Commits overlap: a lower number may come after a higher one.
                rows = await query.execute(
                    "select n from public.floor where n > %s order by n", [newest - 100]
                )
                now = time.time()
                for (number,) in await rows.fetchall():
                    arrived.setdefault(number, now)
                    newest = max(newest, number)

    async def _produce(
        self, write: Write, rate: int, seconds: float, role: str, ring: str | None = None
    ) -> dict[int, float]:
        """Commit at an even rate; returns when each commit was answered."""
        committed: dict[int, float] = {}
        first, count = self._next, int(rate * seconds)
        self._next += count
        numbers = iter(range(first, first + count))
        began = time.monotonic()

        async def work() -> None:
            async with await psycopg.AsyncConnection.connect(
                self.url, autocommit=True
            ) as connection:
                await connection.execute(role.encode())
                for number in numbers:
                    due = began + (number - first) / rate
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await write(connection, number)
                    committed[number] = time.time()
                    if ring is not None:
                        await connection.execute(ring.encode())

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        if time.monotonic() - began > seconds * 1.1 + 1:
            raise BenchmarkError(f"this machine does not commit {rate} events in a second")
        return committed


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
    pids = {"gateway": gateway.pid, "postgres": server.pid}
    return Stage(server.url, port, token, pids, stack)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()

"""What a storm of presence and typing writes: 1,000 users of one tenant on two gateways.

    scripts/bench storm [--users N] [--seconds N]

All connect, type once a second, change their status once a second, and leave. One in ten watches
who is online; ten look at each conversation. Each second the statements that wrote, the rows they
changed, the transactions that rang and the payloads are counted, and the WAL of all of it.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from side_by_side import facts, postgres, processes
from websockets.asyncio.client import ClientConnection, connect

import chatsync
from chatsync.gateway.auth import mint
from chatsync.migrate import migrate

SECRET = "a-secret-of-the-benchmark-of-32-bytes!"
GATEWAYS = 2
PER_CONVERSATION = 10
WATCHING = 10  # one in so many watches who is online
CONNECTING = 50
_COUNTS = b"""
    select
      (select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables
       where relname in ('presence', 'gateway_nodes')),
      (pg_current_wal_lsn() - '0/0')::bigint
"""


@dataclass(slots=True)
class Storm:
    """The users' sockets, and what they heard."""

    ports: list[int]
    conversations: int
    sockets: list[ClientConnection] = field(default_factory=list[ClientConnection])
    heard: Counter[str] = field(default_factory=Counter[str])
    readers: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    async def connect(self, number: int) -> None:
        user = f"u{number}"
        jwt = mint(SECRET, tenant_id="t1", user_id=user, role="agent", ttl_seconds=3600, name=user)
        url = f"ws://127.0.0.1:{self.ports[number % len(self.ports)]}/ws"
        topics = ["user", f"conversation:{self.conversation(number)}"]
        socket = await connect(url, compression=None)
        wanted = [*topics, "presence"] if number % WATCHING == 0 else topics
        await socket.send(json.dumps({"type": "connect", "token": jwt, "topics": wanted}))
        await socket.recv()
        self.sockets.append(socket)
        reader = asyncio.create_task(self._read(socket))
        self.readers.add(reader)

    def conversation(self, number: int) -> int:
        return 1 + number % self.conversations

    async def _read(self, socket: ClientConnection) -> None:
        with contextlib.suppress(Exception):
            async for text in socket:
                frame = json.loads(text)
                self.heard[frame.get("event", frame["type"])] += 1


@dataclass(slots=True)
class Counts:
    """What was counted in each second of a phase."""

    rows: list[float] = field(default_factory=list[float])
    wal: list[float] = field(default_factory=list[float])
    rings: list[float] = field(default_factory=list[float])
    payloads: list[float] = field(default_factory=list[float])


def main() -> None:
    options = _options()
    for name, told in facts.of_this_run("storm").items():
        print(f"{name}: {told}")
    with processes.ending() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-storm-")))
        server = postgres.started(folder, stack)
        migrate(server.url)
        conversations = max(1, options.users // PER_CONVERSATION)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("set role chatsync_owner")
            connection.execute("select chatsync.create_tenant('t1')")
            _make_conversations(connection, conversations)
        ports = [processes.free_port() for _ in range(GATEWAYS)]
        for port in ports:
            environment = {
                "CHATSYNC_DATABASE_URL": server.url,
                "PYTHONPATH": str(Path(chatsync.__file__).parents[1]),
                "CHATSYNC_JWT_SECRET": SECRET,
                "CHATSYNC_PORT": str(port),
                "CHATSYNC_UNAUTHENTICATED_PER_ADDRESS": "10000",
            }
            command = [sys.executable, "-m", "chatsync", "serve"]
            child = processes.start(f"gateway-{port}", command, folder, environment)
            stack.callback(child.stop)
        asyncio.run(_measure(server.url, Storm(ports, conversations), options))


async def _measure(url: str, storm: Storm, options: argparse.Namespace) -> None:
    for port in storm.ports:
        await _until_open(port)
    users, seconds = options.users, options.seconds
    limit = asyncio.Semaphore(CONNECTING)

    async def come(number: int) -> None:
        async with limit:
            await storm.connect(number)

    async def come_all() -> None:
        await asyncio.gather(*(come(number) for number in range(users)))

    async def every_second(frame: Callable[[int, int], dict[str, object]]) -> None:
        for turn in range(seconds):
            began = time.monotonic()
            for number, socket in enumerate(storm.sockets):
                await socket.send(json.dumps(frame(number, turn)))
            await asyncio.sleep(max(0.0, began + 1 - time.monotonic()))

    def typing(number: int, turn: int) -> dict[str, object]:
        del turn
        conversation = storm.conversation(number)
        return {"type": "typing", "conversationId": str(conversation), "active": True}

    def status(number: int, turn: int) -> dict[str, object]:
        return {"type": "presence", "status": "away" if (turn + number) % 2 else "online"}

    async def leave() -> None:
        await asyncio.gather(*(socket.close() for socket in storm.sockets))
        await asyncio.sleep(12)

    print("\n| phase | s | rows/s | NOTIFY transactions/s | payloads/s | WAL kB/s | frames heard |")
    print("|---|---|---|---|---|---|---|")
    await _phase(url, "nobody there", asyncio.sleep(seconds), storm)
    await _phase(url, f"{users} connect", come_all(), storm)
    await asyncio.sleep(2)
    await _phase(url, "all are idle", asyncio.sleep(seconds), storm)
    await _phase(url, "all type, each second", every_second(typing), storm)
    await asyncio.sleep(6)
    await _phase(url, "all change status, each second", every_second(status), storm)
    await _phase(url, "all leave", leave(), storm)


async def _phase(url: str, name: str, body: Awaitable[None], storm: Storm) -> None:
    """Run one phase and print each figure as its mean and its most in any second."""
    before, counts = storm.heard.total(), Counts()
    began = time.monotonic()
    async with _counting(url, counts):
        await body
    took = time.monotonic() - began
    figures = [counts.rows, counts.rings, counts.payloads, [wal / 1000 for wal in counts.wal]]
    words = " | ".join(f"{statistics.mean(each):.1f}, at most {max(each):.0f}" for each in figures)
    print(f"| {name} | {took:.1f} | {words} | {storm.heard.total() - before} |", flush=True)


@asynccontextmanager
async def _counting(url: str, counts: Counts) -> AsyncGenerator[None]:
    async with AsyncExitStack() as stack:
        look, listen = [
            await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(url, autocommit=True)
            )
            for _ in range(2)
        ]
        await listen.execute("listen chatsync")
        heard: list[tuple[float, int]] = []

        async def hear() -> None:
            async for notify in listen.notifies():
                now = time.monotonic()
                heard.extend([] if '"probe"' in notify.payload else [(now, notify.pid)])

        async def count() -> None:
            last = await _look(look)
            while True:
                heard.clear()
                await asyncio.sleep(1)
                now = await _look(look)
                counts.rows.append(now[0] - last[0])
                counts.wal.append(now[1] - last[1])
                counts.payloads.append(len(heard))
                # What one process rings in one transaction comes at one moment.
                counts.rings.append(len({(pid, round(at / 0.02)) for at, pid in heard}))
                last = now

        tasks = [asyncio.create_task(hear()), asyncio.create_task(count())]
        try:
            yield
            # At least one whole second.
            await asyncio.sleep(0 if counts.rows else 1.2)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _look(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> tuple[int, int]:
    # Statistics of a table are told by its writers at most once a second.
    cursor = await connection.execute(_COUNTS)
    row = await cursor.fetchone()
    assert row is not None
    return int(str(row[0] or 0)), int(str(row[1]))


async def _until_open(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def _make_conversations(connection: psycopg.Connection[tuple[object, ...]], count: int) -> None:
    connection.execute("set chatsync.tenants = 't1'")
    connection.execute(
        "with inbox as (insert into chatsync.inboxes (tenant_id, provider, external_id)"
        " values ('t1', 'standard', 'storm') returning inbox_id),"
        " contact as (insert into chatsync.contacts (tenant_id, name)"
        " select 't1', 'c' || n from generate_series(1, %s) n returning contact_id)"
        " insert into chatsync.conversations (tenant_id, inbox_id, contact_id)"
        " select 't1', inbox_id, contact_id from inbox, contact",
        [count],
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench storm", description=__doc__)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10, help="of each phase (10)")
    return parser.parse_args()

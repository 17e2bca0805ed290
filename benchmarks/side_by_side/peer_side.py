"""The usual stack: one node process with Express, BullMQ and Socket.IO, Redis, PostgreSQL."""

import json
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from chatsync.dev.embedded import EmbeddedPostgres
from side_by_side import processes
from side_by_side.clients import Dialect, text_frame
from side_by_side.deliveries import APP_SECRET, PHONE_NUMBER_ID, TENANT
from side_by_side.processes import Child

PEER = Path(__file__).resolve().parent.parent / "peers" / "inbox"


class PeerSide:
    """A node process, Redis with an append-only file, PostgreSQL."""

    name = "peer"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._postgres = EmbeddedPostgres(folder / "data")
        self._redis: Child | None = None
        self._node: Child | None = None
        self._redis_socket = folder / "redis.sock"
        self.port = processes.free_port()

    def __enter__(self) -> Self:
        self._postgres.start()
        self._database = psycopg.connect(self._postgres.url, autocommit=True)
        self._database.execute((PEER / "schema.sql").read_bytes())
        self._database.execute(
            "insert into inboxes (tenant_id, phone_number_id) values (%s, %s)",
            [TENANT, PHONE_NUMBER_ID],
        )
        self._redis = self._start_redis()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for child in (self._node, self._redis):
            if child is not None:
                child.stop()
        self._postgres.remove()

    def start(self, *, with_worker: bool) -> None:
        environment = {
            "NODE_ENV": "production",
            "PORT": str(self.port),
            "DATABASE_URL": self._postgres.url,
            "REDIS_PATH": str(self._redis_socket),
            "WHATSAPP_APP_SECRET": APP_SECRET,
            "START_PAUSED": "0" if with_worker else "1",
        }
        command = ["node", str(PEER / "src" / "main.js")]
        self._node = processes.start("node", command, self._folder, environment)
        self._node.await_that(lambda: processes.answers(self.port))

    def resume(self) -> None:
        assert self._node is not None
        self._node.process.send_signal(signal.SIGUSR2)

    def pause(self) -> None:
        self.resume()  # the signal toggles

    def analyze(self) -> None:
        self._database.execute("analyze")

    def roots(self) -> Mapping[str, int]:
        assert self._redis is not None
        assert self._node is not None
        return {
            "postgres": self._postgres.pid,
            "redis": self._redis.pid,
            "node": self._node.pid,
        }

    def dialect(self) -> Dialect:
        head = (
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        return Dialect(
            upgrade=head.encode(),
            hello=text_frame("40" + json.dumps({"tenant": TENANT})),
            confirmed=b'40{"sid"',
            ping=b"\x81\x012",
            pong=text_frame("3"),
        )

    def queued(self) -> int:
        with socket.socket(socket.AF_UNIX) as redis:
            redis.connect(str(self._redis_socket))
            redis.sendall(b"LLEN bull:inbound:wait\r\n")
            return int(redis.recv(64).strip().removeprefix(b":"))

    def stored(self) -> int:
        return self._number("select coalesce(max(id), 0) from messages")

    def finished(self) -> int:
        return self._number("select count(*) from messages")

    def first_stored_at(self, after: int) -> float:
        query = "select extract(epoch from min(created_at)) from messages where id > "
        return self._number(f"{query}{after}")

    def _start_redis(self) -> Child:
        options = {
            "port": "0",
            "unixsocket": str(self._redis_socket),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        redis = processes.start("redis", ["redis-server", *arguments], self._folder)
        redis.await_that(self._redis_socket.exists)
        return redis

    def _number(self, query: str) -> int:
        row = self._database.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

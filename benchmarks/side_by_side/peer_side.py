"""The usual stack: one node process with Express, BullMQ and Socket.IO, Redis, PostgreSQL."""

import json
import signal
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from side_by_side import postgres, processes, redis
from side_by_side.deliveries import APP_SECRET, PHONE_NUMBER_IDS, TENANT
from side_by_side.needs import PEER
from side_by_side.processes import Child
from side_by_side.side import Side
from side_by_side.subscribers import Dialect, text_frame, upgrade

_QUEUE = "inbound"


@contextmanager
def opened(folder: Path, *, redis_fsync: str) -> Generator[Side]:
    """A node process, Redis with an append-only file, PostgreSQL."""
    with processes.ending() as stack:
        yield _PeerSide(folder, redis_fsync, stack)


class _PeerSide:
    def __init__(self, folder: Path, redis_fsync: str, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._node: Child | None = None
        self._toggled = {"paused": 0, "resumed": 0}
        self._postgres = postgres.started(folder, stack)
        self._database = postgres.connected(self._postgres.url, stack)
        self._database.execute((PEER / "schema.sql").read_bytes())
        self._database.execute(
            b"insert into inboxes (tenant_id, phone_number_id) select %s, unnest(%s::text[])",
            [TENANT, PHONE_NUMBER_IDS],
        )
        self._redis = redis.started(folder, redis_fsync, stack)
        self.port = processes.free_port()

    def start(self, *, with_worker: bool) -> None:
        environment = {
            "NODE_ENV": "production",
            "PORT": str(self.port),
            "DATABASE_URL": self._postgres.url,
            "REDIS_PATH": str(self._redis.path),
            "WHATSAPP_APP_SECRET": APP_SECRET,
            "START_PAUSED": "0" if with_worker else "1",
        }
        command = ["node", str(PEER / "src" / "main.js")]
        node = processes.start("node", command, self._folder, environment)
        self._stack.callback(node.stop)
        node.await_that(lambda: processes.answers(self.port))
        self._node = node

    def resume(self) -> None:
        self._toggle("resumed")

    def pause(self) -> None:
        self._toggle("paused")

    def analyze(self) -> None:
        self._database.execute("analyze")

    def roots(self) -> Mapping[str, int]:
        assert self._node is not None
        return {
            "postgres": self._postgres.pid,
            "redis": self._redis.child.pid,
            "node": self._node.pid,
        }

    def dialect(self) -> Dialect:
        return Dialect(
            upgrade=upgrade("/socket.io/?EIO=4&transport=websocket"),
            hello=text_frame("40" + json.dumps({"tenant": TENANT})),
            confirmed=b'40{"sid"',
            ping=b"\x81\x012",
            pong=text_frame("3"),
        )

    def facts(self) -> Mapping[str, str]:
        return {**postgres.facts(self._database), **self._redis.facts()}

    def queued(self) -> int:
        return self._redis.queued(_QUEUE)

    def stored(self) -> int:
        return self._number("select coalesce(max(id), 0) from messages")

    def finished(self) -> int:
        return self._number("select count(*) from messages")

    def first_stored_at(self, after: int) -> float:
        first = "select extract(epoch from min(created_at)) from messages"
        return float(self._number(f"{first} where id > {after}"))

    def _toggle(self, word: str) -> None:
        """Pause or resume the worker, and wait until it says that it has."""
        node = self._node
        assert node is not None
        self._toggled[word] += 1
        node.process.send_signal(signal.SIGUSR2)
        node.await_that(lambda: node.said(word) == self._toggled[word])

    def _number(self, query: str) -> int:
        return postgres.number(self._database, query)

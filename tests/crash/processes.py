"""The worker's process, and a producer that notes what it was told."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from conftest import SyncConnection
from crash.history import Kind, Record
from crash.recording import QUEUES
from service.harness import PATIENCE_SECONDS, Process, wait_for
from sql.queue_calls import value

PROGRAM = Path(__file__).with_name("program.py")
KEYS = ("a", "b", "c", None)


class WorkerProcess(Process):
    """A worker that waits to be begun, so that its start costs nobody time."""

    def __init__(self, popen: "subprocess.Popen[bytes]", folder: Path, name: str) -> None:
        super().__init__(popen, folder / f"{name}.log")
        self.signs = folder / f"{name}.signs"

    @property
    def name(self) -> str:
        """As it registers itself."""
        return f"{socket.gethostname()}:{self.popen.pid}"

    def say(self, line: str = "") -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n".encode())
        self.popen.stdin.flush()

    def is_stopped(self) -> bool:
        """Whether it is at its point in both queues."""
        return self.signs.exists() and set(self.signs.read_text().split()) == set(QUEUES)

    def end(self) -> None:
        """As an operator ends it: all that is under way comes to its end."""
        self.say()
        self.kill(signal.SIGTERM)
        assert self.wait() == 0


@contextmanager
def worker_process(folder: Path, database_url: str, name: str) -> Generator[WorkerProcess]:
    with (folder / f"{name}.log").open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder / f"{name}.signs"), str(folder / "calls")],
            env={**os.environ, "CHATSYNC_DATABASE_URL": database_url},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        yield WorkerProcess(popen, folder, name)
    finally:
        popen.kill()
        popen.wait(timeout=PATIENCE_SECONDS)
        assert popen.stdin is not None
        popen.stdin.close()


class Producer:
    """Enqueues to both queues, and keeps what it asked for and what was acknowledged."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: SyncConnection | None = None
        self._numbers = itertools.count(1)
        self.told: list[tuple[float, str, Record]] = []

    def enqueue(self, count: int, *, stops: bool = False) -> None:
        """So many messages of each key in each queue; patient while the database is away."""
        # In one call: while a claim stands at a gate, the next message of its key has to wait.
        wait_for(lambda: self._enqueue(count, stops), "an acknowledgement")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _enqueue(self, count: int, stops: bool) -> bool:
        keyed = [(next(self._numbers), key) for _ in range(count) for key in KEYS]
        messages = [
            {
                "queue": queue,
                "tenant_id": "t1",
                "ordering_key": key,
                "payload": {"n": n, "stops": stops},
            }
            for n, key in keyed
            for queue in QUEUES
        ]
        self._tell("asked", keyed)
        try:
            value(self._connected(), "select chatsync.enqueue_many(%s)", [Jsonb(messages)])
        except psycopg.OperationalError:
            # It may have been done all the same; whoever asks again asks for other ones.
            self.close()
            return False
        self._tell("acknowledged", keyed)
        return True

    def _tell(self, kind: Kind, keyed: Sequence[tuple[int, str | None]]) -> None:
        self.told += [
            (time.time(), queue, Record(kind, n, key)) for n, key in keyed for queue in QUEUES
        ]

    def _connected(self) -> SyncConnection:
        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True)
            self._connection.execute("set role chatsync_producer")
        return self._connection

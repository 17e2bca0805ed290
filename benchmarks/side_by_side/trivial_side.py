"""A side that does nothing, so that the generator can be measured instead of a server."""

import http.client
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from side_by_side import processes
from side_by_side.processes import BenchmarkError, Child
from side_by_side.side import Side
from side_by_side.subscribers import Dialect, text_frame, upgrade

_SERVER = Path(__file__).with_name("trivial_server.py")


@contextmanager
def opened(folder: Path) -> Generator[Side]:
    """One process of Python without any storage."""
    with processes.ending() as stack:
        yield _TrivialSide(folder, stack)


class _TrivialSide:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._server: Child | None = None
        self.port = processes.free_port()

    def start(self, *, with_worker: bool) -> None:
        server = processes.start(
            "server", [sys.executable, str(_SERVER), str(self.port)], self._folder
        )
        self._stack.callback(server.stop)
        server.await_that(lambda: processes.answers(self.port))
        self._server = server

    def analyze(self) -> None:
        """There is nothing to take statistics of."""

    def roots(self) -> Mapping[str, int]:
        assert self._server is not None
        return {"server": self._server.pid}

    def dialect(self) -> Dialect:
        return Dialect(
            upgrade=upgrade("/ws"),
            hello=text_frame('{"type":"connect"}'),
            confirmed=b'"type":"connected"',
            ping=b'"type":"ping"',
            pong=b"",
        )

    def facts(self) -> Mapping[str, str]:
        return {}

    def queued(self) -> int:
        """How many were answered 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return int(connection.getresponse().read())
        finally:
            connection.close()

    def resume(self) -> None:
        raise BenchmarkError("a server that does nothing has no worker")

    def pause(self) -> None:
        self.resume()

    def stored(self) -> int:
        return 0

    def finished(self) -> int:
        return 0

    def first_stored_at(self, after: int) -> float:
        return 0.0

"""Two transactions, step by step: a statement runs in a thread until it waits for a lock."""

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, LiteralString

from conftest import Connections, SyncConnection

Rows = list[tuple[Any, ...]]


class Stepper:
    """Starts statements in threads. `observer` looks at locks from outside."""

    def __init__(self, threads: ThreadPoolExecutor, observer: SyncConnection) -> None:
        self._threads = threads
        self._observer = observer

    def start(
        self, connection: SyncConnection, query: LiteralString, parameters: Sequence[object] = ()
    ) -> Future[Rows]:
        return self._threads.submit(lambda: connection.execute(query, parameters).fetchall())

    def start_and_wait(
        self, connection: SyncConnection, query: LiteralString, parameters: Sequence[object] = ()
    ) -> Future[Rows]:
        """Start a statement and return once it waits for another transaction."""
        running = self.start(connection, query, parameters)
        self.until_waiting_or_done(connection, running)
        assert not running.done(), f"it waited for nobody: {running.result()}"
        return running

    def until_waiting_or_done(self, connection: SyncConnection, running: Future[Rows]) -> None:
        while not running.done() and not self._is_waiting(connection.info.backend_pid):
            pass

    def _is_waiting(self, pid: int) -> bool:
        row = self._observer.execute(
            "select cardinality(pg_blocking_pids(%s)) > 0, pg_sleep(0.002)", [pid]
        ).fetchone()
        return row is not None and row[0] is True


@contextmanager
def stepping(connections: Connections) -> Generator[Stepper]:
    with ThreadPoolExecutor() as threads:
        yield Stepper(threads, connections.open("chatsync_owner"))

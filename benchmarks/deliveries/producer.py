"""A process that commits rows at an even rate, each in a transaction of its own.

    producer.py chatsync|floor FIRST COUNT RATE FILE

What the client itself costs is little more than libpq. Writes to FILE when each commit was asked
for and when it was answered; the floor then rings.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import psycopg
from psycopg import pq

# A commit waits for the disk, and those of several connections are flushed together.
CONNECTIONS = 12
WORDS = b"so many words as a person writes who has a question about an order " * 3
WRITE = {
    "chatsync": b"select chatsync.publish('t1', array['tenant:t1'], 'test',"
    b" jsonb_build_object('n', $1::int, 'text', $2::text))",
    "floor": b"insert into public.floor values ($1, $2)",
}
RING = b"select pg_notify('floor', $1::text)"


class Producer:
    """What its threads share."""

    def __init__(self, way: str, first: int, count: int, rate: float) -> None:
        # When its commit was asked for, and answered.
        self.committed: list[tuple[int, float, float]] = []
        self._way = way
        self._first = first
        self._rate = rate
        self._numbers = iter(range(first, first + count))
        self._ready = threading.Barrier(CONNECTIONS + 1)
        self._began = 0.0

    def run(self) -> float:
        """Returns how many seconds it took."""
        threads = [threading.Thread(target=self._work) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        self._began = time.monotonic() + 0.1
        self._ready.wait()
        for thread in threads:
            thread.join()
        return time.monotonic() - self._began

    def _work(self) -> None:
        with psycopg.connect(os.environ["CHATSYNC_DATABASE_URL"], autocommit=True) as connection:
            if self._way == "chatsync":
                connection.execute("set role chatsync_worker")
            server = connection.pgconn
            server.prepare(b"write", WRITE[self._way])
            server.prepare(b"ring", RING)
            self._ready.wait()
            # One step of the iterator at a time: the interpreter's lock sees to it.
            for number in self._numbers:
                due = self._began + (number - self._first) / self._rate
                time.sleep(max(0.0, due - time.monotonic()))
                asked = time.time()
                _done(server.exec_prepared(b"write", [b"%d" % number, WORDS]))
                self.committed.append((number, asked, time.time()))
                if self._way == "floor":
                    _done(server.exec_prepared(b"ring", [b"%d" % number]))


def _done(result: "pq.abc.PGresult") -> None:
    if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        raise SystemExit(result.error_message.decode())


def main() -> None:
    way, first, count, rate, file = sys.argv[1:]
    # Threads that wake to commit must not wait for one that prepares.
    sys.setswitchinterval(0.0005)
    producer = Producer(way, int(first), int(count), float(rate))
    took = producer.run()
    told = {"took": took, "committed": producer.committed}
    Path(file).write_text(json.dumps(told))


if __name__ == "__main__":
    main()

"""What the queue and the log cost while a forgotten transaction keeps PostgreSQL from clearing up.

    scripts/bench pinned [--runs N] [--churn N] [--rate N] [--only NAMES] [--with-xid] [--quick]

Each run takes two fresh databases. In one of them a transaction that was opened before sees to it
that no dead row can be removed. Both get the same churn through the same functions, with a worker's
upkeep beside it; then what is measured: a drain whose every claim and settlement is timed, or the
stamping of a backlog.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import LiteralString, TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from side_by_side import facts, postgres

from chatsync.database import Database
from chatsync.events.doorbell import Doorbell
from chatsync.migrate import migrate
from chatsync.queue.upkeep import Upkeep

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]
Result: TypeAlias = dict[str, float]

GROUP = 50
CLAIMED = 100
STAMPED = 100
DRAINED = 20_000
IDLE_CLAIMS = 50
MESSAGE = {"queue": "work", "tenant_id": "t1", "payload": {"text": "x" * 300}}
CLAIM: LiteralString = "select lease_id, id from chatsync.claim('work', %s, %s)"
SETTLE: LiteralString = "select chatsync.settle(%s, %s)"
PUBLISH: LiteralString = (
    "select chatsync.publish('t1', array['tenant:t1'], 'message:new', jsonb_build_object("
    "'text', repeat('x', 300))) from generate_series(1, %s)"
)


class Pace:
    """Holds a loop to a rate; 0 is as fast as it goes."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._done = 0

    def wait(self, count: int) -> None:
        self._done += count
        if self._rate > 0:
            time.sleep(max(0.0, self._began + self._done / self._rate - time.monotonic()))


def queue(keys: int) -> Callable[[Connection, int, Pace], Result]:
    """The churn and the drain of a queue; without keys, of messages that have no order."""

    def measure(connection: Connection, churn: int, pace: Pace) -> Result:
        worker_id = register(connection)
        numbers = itertools.count()
        for _ in range(churn // GROUP):
            enqueue(connection, numbers, keys)
            while batch := claimed(connection, worker_id):
                connection.execute(SETTLE, batch)
            pace.wait(GROUP)
        enqueued = timed(lambda: enqueue(connection, numbers, keys), DRAINED // GROUP)
        claims: list[float] = []
        settlements: list[float] = []
        before = touched(connection)
        while True:
            began = time.perf_counter()
            batch = claimed(connection, worker_id)
            if not batch:
                break
            claims.append(time.perf_counter() - began)
            began = time.perf_counter()
            connection.execute(SETTLE, batch)
            settlements.append(time.perf_counter() - began)
        buffers = touched(connection) - before
        idle = timed(lambda: claimed(connection, worker_id), IDLE_CLAIMS)
        return {
            "messages/s": DRAINED / (sum(claims) + sum(settlements)),
            "buffers a message": buffers / DRAINED,
            **spread("claim", claims),
            **spread("settle", settlements),
            **spread("enqueue", enqueued),
            **spread("idle claim", idle),
        }

    return measure


def log(connection: Connection, churn: int, pace: Pace) -> Result:
    """The churn of the log and the stamping of a backlog."""
    for _ in range(churn // GROUP):
        connection.execute(PUBLISH, [GROUP])
        stamp(connection)
        pace.wait(GROUP)
    connection.execute(PUBLISH, [DRAINED])
    before = touched(connection)
    spent = timed(lambda: stamp(connection), DRAINED // STAMPED)
    buffers = touched(connection) - before
    return {
        "messages/s": DRAINED / sum(spent),
        "buffers a message": buffers / DRAINED,
        **spread("stamp", spent),
        **spread("idle stamp", timed(lambda: stamp(connection), IDLE_CLAIMS)),
    }


FIGURES: Mapping[str, Callable[[Connection, int, Pace], Result]] = {
    "one-key": queue(1),
    "many-keys": queue(500),
    "without-keys": queue(0),
    "stamp": log,
}


def main() -> None:
    options = parser().parse_args()
    churn = 5_000 if options.quick else options.churn
    runs = 1 if options.quick else options.runs
    results: dict[tuple[str, bool], list[Result]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-pinned-")))
        server = postgres.started(folder, stack)
        version = postgres.facts(postgres.connected(server.url, stack))
        for number, name, is_pinned in itertools.product(range(runs), options.only, (False, True)):
            url = made(server.url, f"run_{number}_{name}_{is_pinned}".replace("-", "_").lower())
            with (
                pinned(url, is_pinned=is_pinned, with_xid=options.with_xid),
                upkeep(url),
                psycopg.connect(url, autocommit=True) as connection,
            ):
                prepare(connection)
                result = FIGURES[name](connection, churn, Pace(options.rate))
            dropped(url, server.url)
            results.setdefault((name, is_pinned), []).append(result)
            said = "; ".join(f"{measure} {value:,.2f}" for measure, value in result.items())
            tell(f"{name}, {'pinned' if is_pinned else 'not pinned'}: {said}")
    told = facts.of_this_run("pinned") | version
    print("\n".join(f"- {name}: {value}" for name, value in told.items()))
    print(f"\n{churn:,} messages of churn, medians of {runs} runs, times in ms\n")
    print("\n".join(table(results, options.only)))


def table(results: Mapping[tuple[str, bool], list[Result]], names: list[str]) -> Generator[str]:
    yield "| figure | measure | not pinned | pinned | ratio |"
    yield "|---|---|--:|--:|--:|"
    for name in names:
        for measure in results[name, False][0]:
            free, held = (
                statistics.median(result[measure] for result in results[name, is_pinned])
                for is_pinned in (False, True)
            )
            yield f"| {name} | {measure} | {free:,.2f} | {held:,.2f} | {held / free:.2f} |"


def enqueue(connection: Connection, numbers: "itertools.count[int]", keys: int) -> None:
    group = [
        MESSAGE | ({"ordering_key": f"k{number % keys}"} if keys else {})
        for number in itertools.islice(numbers, GROUP)
    ]
    connection.execute("select chatsync.enqueue_many(%s)", [Jsonb(group)])


def claimed(connection: Connection, worker_id: int) -> list[object]:
    """What settle() is called with: the lease and its messages; empty when nothing was there."""
    rows = connection.execute(CLAIM, [worker_id, CLAIMED]).fetchall()
    return [rows[0][0], [row[1] for row in rows]] if rows else []


def stamp(connection: Connection) -> None:
    connection.execute("call chatsync.stamp_and_ring(%s, 'bench')", [STAMPED])


def touched(connection: Connection) -> int:
    """The buffers that this database has used: the same on a machine that is busy."""
    connection.execute("select pg_stat_force_next_flush()")
    row = connection.execute(
        "select blks_hit + blks_read from pg_stat_database where datname = current_database()"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def register(connection: Connection) -> int:
    row = connection.execute("select chatsync.register_worker('bench')").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    # Its heartbeat is nobody's task here.
    connection.execute("update chatsync.workers set lease_until = 'infinity'")
    return row[0]


def timed(step: Callable[[], object], count: int) -> list[float]:
    spent: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        spent.append(time.perf_counter() - began)
    return spent


def spread(name: str, spent: list[float]) -> Result:
    cuts = statistics.quantiles(spent, n=100, method="inclusive")
    return {f"{name} p50": cuts[49] * 1e3, f"{name} p99": cuts[98] * 1e3}


def made(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
    ours = make_conninfo(url, dbname=name)
    migrate(ours)
    return ours


def dropped(url: str, server_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"drop database {name}".encode())


def prepare(connection: Connection) -> None:
    connection.execute("set role chatsync_worker")
    connection.execute("set chatsync.doorbell = off")
    connection.execute("select chatsync.create_tenant('t1')")


@contextmanager
def pinned(url: str, *, is_pinned: bool, with_xid: bool) -> Generator[None]:
    """A transaction that is open while the block runs, unless the run is the one without."""
    with psycopg.connect(url, autocommit=True) as connection:
        if is_pinned:
            connection.execute("begin isolation level repeatable read")
            connection.execute("select pg_current_xact_id()" if with_xid else "select 1")
        yield


@contextmanager
def upkeep(url: str) -> Generator[None]:
    """What every worker does beside its work."""
    loop = asyncio.new_event_loop()

    async def run() -> None:
        database = Database(url, "chatsync_worker", size=1)
        await database.open()
        try:
            doorbell = Doorbell(url, "chatsync_worker")
            await Upkeep(database, doorbell, retention_days=7, queues=["work"]).run()
        finally:
            await database.close()

    task = loop.create_task(run())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="scripts/bench pinned", description=__doc__)
    add = made.add_argument
    add("--runs", type=int, default=3, help="how often each is measured (3)")
    add("--churn", type=int, default=300_000, help="messages before the measurement (300000)")
    add("--rate", type=float, default=0, help="messages a second of the churn (as fast as it goes)")
    add("--only", type=figures, default=list(FIGURES), help=f"of {','.join(FIGURES)}: some")
    add("--with-xid", action="store_true", help="the open transaction has written something")
    add("--quick", action="store_true", help="see that all works, in sizes too small to compare")
    return made


def figures(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(FIGURES):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(FIGURES)}")
    return names


def tell(sentence: str) -> None:
    print(f"scripts/bench pinned: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

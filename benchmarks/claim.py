"""What one claim costs while much waits: each situation in a database of its own, sizes in turns.

    scripts/bench claim [--runs N] [--rows N]

A claim of one message, rolled back so that the next one finds the same; median of many, and the
buffers that EXPLAIN counts. The smallest size of each situation is the baseline of its ratio.
Where there are four workers, the three others hold what they have claimed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from side_by_side import postgres

from chatsync.migrate import migrate

Connection = psycopg.Connection[tuple[object, ...]]

CLAIMS = 200
OTHERS = 3
RETRY_SECONDS = 100_000
CLAIM: LiteralString = "select count(*) from chatsync.claim('work', %s, 1)"
FILL: LiteralString = """
    with made as (
      insert into chatsync.queue_lanes (lane, queue, tenant_id, ordering_key)
      select distinct chatsync.lane('work', 't1', %(prefix)s || (g %% %(keys)s)), 'work', 't1',
        %(prefix)s || (g %% %(keys)s)
      from generate_series(1, %(count)s) as g
      on conflict do nothing
      returning lane
    )
    insert into chatsync.lane_turns (lane, queue, priority, ready_at)
    select lane, 'work', 0, chatsync.now() from made
"""
MESSAGES: LiteralString = """
    insert into chatsync.message_queue (
      queue, tenant_id, message_type, correlation_id, ordering_key, payload)
    select 'work', 't1', 'test', 'c', %(prefix)s || (g %% %(keys)s), '{}'
    from generate_series(1, %(count)s) as g
"""


def with_keys(connection: Connection, prefix: str, keys: int, count: int) -> None:
    """Messages of some keys, written past the functions, which would take minutes."""
    named = {"prefix": prefix, "keys": keys, "count": count}
    with connection.transaction():
        connection.execute("select set_config('chatsync.lanes_held', 'yes', true)")
        connection.execute(FILL, named)
        connection.execute(MESSAGES, named)


def backing_off(connection: Connection, prefix: str, keys: int, count: int) -> None:
    with_keys(connection, prefix, keys, count)
    like = [RETRY_SECONDS, f"work/t1/{prefix}%"]
    connection.execute(
        "update chatsync.message_queue set status = 'retrying', retry_count = 1,"
        " scheduled_at = chatsync.now() + make_interval(secs => %s) where lane_key like %s",
        like,
    )
    connection.execute(
        "update chatsync.lane_turns set is_waiting = true,"
        " ready_at = chatsync.now() + make_interval(secs => %s) where lane like %s",
        like,
    )


def behind_one_blocked_key(connection: Connection, count: int) -> None:
    backing_off(connection, "blocked", 1, count)


def waiting(connection: Connection, count: int) -> None:
    with_keys(connection, "waiting", max(count // 10, 1), count)


def waiting_without_keys(connection: Connection, count: int) -> None:
    connection.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, payload)"
        " select 'work', 't1', 'test', 'c', '{}' from generate_series(1, %s)",
        [count],
    )


def blocked_keys(connection: Connection, count: int) -> None:
    if count:
        backing_off(connection, "blocked", count, count * 3)


def messages_backing_off(connection: Connection, count: int) -> None:
    if count:
        backing_off(connection, "blocked", count, count)


def paused_keys(connection: Connection, count: int) -> None:
    if count:
        with_keys(connection, "paused", count, count)
        connection.execute(
            "update chatsync.lane_turns set is_parked = true where lane like '%/paused%'"
        )
    connection.execute("select chatsync.pause('work', 't1', null, 'paused1')")


def one_hot_key(connection: Connection, count: int) -> None:
    with_keys(connection, "hot", 1, count)


def one_hot_key_of_four_workers(connection: Connection, count: int) -> None:
    one_hot_key(connection, count)
    # The first of the others has the hot key: something is left for each.
    with_keys(connection, "other", OTHERS - 1, OTHERS - 1)


Situation = tuple[Callable[[Connection, int], None], tuple[int, ...]]
SITUATIONS: Mapping[str, Situation] = {
    "messages behind one blocked key": (behind_one_blocked_key, (1, 100_000)),
    "messages waiting, ten a key": (waiting, (1_000, 1_000_000)),
    "messages waiting, without a key": (waiting_without_keys, (1_000, 1_000_000)),
    "blocked keys": (blocked_keys, (0, 10_000)),
    "messages backing off, each of a key": (messages_backing_off, (0, 100_000)),
    "paused keys": (paused_keys, (0, 10_000)),
    "messages of one hot key": (one_hot_key, (1, 10_000)),
    "the same, four workers": (one_hot_key_of_four_workers, (1, 10_000)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench claim", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each is measured (5)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatsync-claim-")))
        server = postgres.started(folder, stack)
        databases = {
            (name, size): made(server.url, f"claim_{number}_{size}", fill, size, stack)
            for number, (name, (fill, sizes)) in enumerate(SITUATIONS.items())
            for size in sizes
        }
        measured: dict[tuple[str, int], list[float]] = {key: [] for key in databases}
        for _ in range(options.runs):
            for key, (connection, worker_id) in databases.items():
                measured[key].append(median_us(connection, worker_id))
        version = next(iter(databases.values()))[0].info.parameter_status("server_version")
        print(f"PostgreSQL {version}, {options.runs} runs of {CLAIMS} claims each, medians\n")
        print(
            "| situation | size | µs a claim | ratio | buffers | ratio |\n|---|--:|--:|--:|--:|--:|"
        )
        for name, (_, sizes) in SITUATIONS.items():
            first: tuple[float, int] | None = None
            for size in sizes:
                spent = statistics.median(measured[name, size])
                buffers = touched(*databases[name, size])
                first = first or (spent, buffers)
                ratios = f"{spent / first[0]:.2f} | {buffers:,} | {buffers / first[1]:.2f}"
                print(f"| {name} | {size:,} | {spent:,.0f} | {ratios} |")


def made(
    url: str,
    name: str,
    fill: Callable[[Connection, int], None],
    size: int,
    stack: ExitStack,
) -> tuple[Connection, int]:
    """A database in one situation, with one message that can run at once, and a worker."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
    ours = make_conninfo(url, dbname=name)
    migrate(ours)
    connection = stack.enter_context(psycopg.connect(ours, autocommit=True))
    connection.execute("set role chatsync_owner")
    connection.execute("set chatsync.doorbell = off")
    connection.execute("select chatsync.create_tenant('t1')")
    fill(connection, size)
    connection.execute(
        "select chatsync.enqueue('work', 't1', 'test', %s, p_ordering_key => 'free')", [Jsonb({})]
    )
    connection.execute("vacuum (analyze) chatsync.message_queue, chatsync.lane_turns")
    for _ in range(OTHERS if fill is one_hot_key_of_four_workers else 0):
        other = stack.enter_context(psycopg.connect(ours, autocommit=True))
        worker_id = registered(other)
        assert other.execute(CLAIM, [worker_id]).fetchone() == (1,)
    return connection, registered(connection)


def registered(connection: Connection) -> int:
    connection.execute("set role chatsync_worker")
    row = connection.execute("select chatsync.register_worker('bench')").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def median_us(connection: Connection, worker_id: int) -> float:
    spent: list[float] = []
    for _ in range(CLAIMS):
        connection.execute("begin")
        began = time.perf_counter()
        row = connection.execute(CLAIM, [worker_id]).fetchone()
        spent.append((time.perf_counter() - began) * 1e6)
        assert row == (1,)
        connection.execute("rollback")
    return statistics.median(spent)


def touched(connection: Connection, worker_id: int) -> int:
    """The buffers that one claim reads or hits."""
    with connection.transaction(force_rollback=True):
        row = connection.execute(
            "explain (analyze, buffers, format json) " + CLAIM, [worker_id]
        ).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]  # type: ignore[index]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


if __name__ == "__main__":
    main()

"""Producers, workers and operators at once: nothing is lost, doubled, stranded or in a deadlock."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.operator_calls import cancel, retry, rows
from sql.queue_calls import claim, count, enqueue, labels, register, settle

pytestmark = pytest.mark.usefixtures("tenant")

KEYS = ["a", "b", "c", "d", "e", None]
PRODUCERS = 2
WORKERS = 2
OPERATORS = 3
MESSAGES = 600
DEADLINE_SECONDS = 20


def produce(connection: SyncConnection, producer: int) -> None:
    chance = random.Random(producer)
    for number in range(MESSAGES // PRODUCERS):
        due = "2999-01-01T00:00:00Z" if chance.random() < 0.1 else None
        enqueue(connection, chance.choice(KEYS), f"{producer}.{number}", p_scheduled_at=due)


def failure(id: int, chance: random.Random) -> dict[str, object]:
    is_permanent = chance.random() < 0.5
    return {"id": id, "error": "x", "isPermanent": is_permanent, "retryAfterSeconds": 3600}


def work(connections: Connections, seed: int, is_over: Callable[[], bool]) -> list[str]:
    """Labels of what was done, each as often as it was."""
    chance = random.Random(seed)
    connection, worker_id = register(connections)
    done: list[str] = []
    while not is_over():
        claimed = claim(connection, worker_id, limit=chance.randint(1, 20))
        failed: dict[object, int] = {}
        for row in claimed:
            if chance.random() < 0.1:
                failed.setdefault(row.ordering_key, row.id)
        fine = [row for row in claimed if row.ordering_key not in failed]
        if not claimed:
            continue
        settle(
            connection,
            claimed,
            done=[row.id for row in fine],
            failed=[failure(id, chance) for id in failed.values()],
            untouched=[
                row.id
                for row in claimed
                if row.ordering_key in failed and row.id not in failed.values()
            ],
        )
        done += labels(fine)
    return done


def operate(connection: SyncConnection, seed: int, is_over: Callable[[], bool]) -> int:
    """Do something to something, over and over; returns how often it changed anything."""
    chance = random.Random(seed)
    changed = 0
    while not is_over():
        ids = rows(connection, "select id from chatsync.message_queue")
        some = chance.choice(ids).id if ids else 0
        try:
            match chance.randint(0, 5):
                case 0:
                    changed += cancel(connection, some)
                case 1 | 2:
                    changed += retry(connection, some)
                case 3:
                    redrive = "select * from chatsync.redrive('outbound', p_limit => 20)"
                    changed += len(connection.execute(redrive).fetchall())
                case draw:
                    way = ("outbound", "parked") if draw == 4 else ("parked", "outbound")
                    move = "select chatsync.move_messages(%s, %s, 20)"
                    ((moved,),) = connection.execute(move, way).fetchall()
                    assert isinstance(moved, int)
                    changed += moved
        except psycopg.DatabaseError as error:
            if error.sqlstate != "CS005":
                raise
    return changed


def drain(connections: Connections, operator: SyncConnection) -> list[str]:
    """Everything that is left, brought back and done."""
    connection, worker_id = register(connections)
    done: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        operator.execute("select * from chatsync.redrive(p_error_like => '%')")
        operator.execute("select chatsync.move_messages('parked', 'outbound')")
        late = "select id from chatsync.message_queue where status in ('scheduled', 'retrying')"
        for row in rows(operator, late):
            retry(operator, row.id)
        if not (claimed := claim(connection, worker_id)):
            return done
        settle(connection, claimed)
        done += labels(claimed)
    raise AssertionError("messages were left")


def test_what_operators_do_loses_doubles_and_strands_nothing(
    connections: Connections, owner: SyncConnection
) -> None:
    ends_at = time.monotonic() + 4

    def is_over() -> bool:
        return time.monotonic() > ends_at

    with ThreadPoolExecutor() as threads:
        producers = [
            threads.submit(produce, connections.open("chatsync_producer"), number)
            for number in range(PRODUCERS)
        ]
        workers = [threads.submit(work, connections, seed, is_over) for seed in range(WORKERS)]
        operators = [
            threads.submit(operate, connections.open("chatsync_operator"), seed, is_over)
            for seed in range(OPERATORS)
        ]
        for task in producers:
            task.result()
        # One of them may have been too slow on a busy machine.
        assert sum(task.result() for task in operators) > 0
        done = [label for task in workers for label in task.result()]
    done += drain(connections, connections.open("chatsync_operator"))

    expected = [f"{p}.{n}" for p in range(PRODUCERS) for n in range(MESSAGES // PRODUCERS)]
    assert sorted(done) == sorted(expected)
    owner.execute("select chatsync.sweep_lanes()")
    for table in ("failed_messages", "message_queue", "queue_lanes", "lane_turns"):
        assert count(owner, table) == 0, table

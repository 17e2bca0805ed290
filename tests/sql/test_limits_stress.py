"""Many sessions claim at once: no cap is ever exceeded, no rate, and nothing is left behind."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.limit_calls import IN_FLIGHT, assert_nothing_is_left, enqueue_for, limit, rate
from sql.queue_calls import claim, count, register, value

TENANTS = ("t1", "t2", "t3")
CAPS = {"t1": 3, "t2": 5, "t3": 5}
QUEUE_CAP = 9
WORKERS = 4
MESSAGES = 600
DEADLINE_SECONDS = 30


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    connection = connections.open("chatsync_worker")
    for tenant in TENANTS:
        value(connection, "select chatsync.create_tenant(%s)", [tenant])
    return connection


def too_much(seen: Counter[str]) -> bool:
    return sum(seen.values()) > QUEUE_CAP or any(seen[t] > CAPS[t] for t in TENANTS)


class Worker:
    """Claims, settles, fails, gives back, undoes and dies; notes what was done."""

    def __init__(self, connections: Connections, seed: int) -> None:
        self._chance = random.Random(seed)
        self._connections = connections
        self._connection, self._id = register(connections)
        self.done: list[str] = []
        self.deaths = self.undone = 0

    def work(self, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            was_over = is_over()
            if self._chance.random() < 0.1:
                with self._connection.transaction(force_rollback=True):
                    self.undone += len(claim(self._connection, self._id, 5))
                continue
            if claimed := claim(self._connection, self._id, self._chance.randint(1, 8)):
                self._end(claimed)
                continue
            value(self._connection, "select chatsync.reap(), pg_sleep(0.002)")
            if was_over and not count(self._connection, "message_queue"):
                return
        raise AssertionError("messages were left")

    def _end(self, claimed: list[Any]) -> None:
        draw = self._chance.random()
        if draw < 0.05 and not any(row.deaths for row in claimed):
            self._connection.close()
            self._connection, self._id = register(self._connections)
            self.deaths += 1
        elif draw < 0.15:
            self._connection.execute("select chatsync.release(%s)", [claimed[0].lease_id])
        else:
            failed = [row for row in claimed if self._chance.random() < 0.05]
            failures = [{"id": r.id, "error": "x", "retryAfterSeconds": 0.01} for r in failed]
            done = [row for row in claimed if row not in failed]
            self._connection.execute(
                "select chatsync.settle(%s, %s, %s)",
                [claimed[0].lease_id, [row.id for row in done], Jsonb(failures)],
            )
            self.done += [row.label for row in done]


def watch(connection: SyncConnection, is_over: Event) -> list[Counter[str]]:
    """What was in flight at one moment after the other."""
    seen: list[Counter[str]] = []
    while not is_over.is_set():
        rows: list[Any] = connection.execute(IN_FLIGHT).fetchall()
        seen.append(Counter({tenant: messages for tenant, _, messages in rows}))
    return seen


def test_no_cap_is_exceeded_whatever_workers_do_and_nothing_is_left(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    limit(operator, QUEUE_CAP, "queue")
    limit(operator, 5, "tenant")
    limit(operator, 3, "tenant", "t1")
    chance = random.Random(7)
    for number in range(MESSAGES):
        key = chance.choice([None, *(f"k{each}" for each in range(12))])
        enqueue_for(operator, chance.choice(TENANTS), key, number)
    is_over = Event()
    workers = [Worker(connections, seed) for seed in range(WORKERS)]
    with ThreadPoolExecutor() as threads:
        watching = threads.submit(watch, owner, is_over)
        try:
            for task in [threads.submit(worker.work, lambda: True) for worker in workers]:
                task.result()
        finally:
            is_over.set()
        samples = watching.result()

    assert [seen for seen in samples if too_much(seen)] == []
    # The caps were reached, else nothing was tried.
    assert max(sum(seen.values()) for seen in samples) == QUEUE_CAP
    assert max(seen["t1"] for seen in samples) == CAPS["t1"]
    assert sorted(label for worker in workers for label in worker.done) == sorted(
        map(str, range(MESSAGES))
    )
    assert sum(worker.deaths for worker in workers) > 0
    assert sum(worker.undone for worker in workers) > 0
    owner.execute("select chatsync.sweep_lanes()")
    assert_nothing_is_left(owner)


def test_the_watch_sees_what_is_too_much() -> None:
    assert not too_much(Counter(t1=3, t2=5))
    assert too_much(Counter(t1=4))
    assert too_much(Counter(t2=5, t3=5))


@pytest.mark.parametrize("per", ["queue", "tenant"])
def test_claims_at_the_same_time_share_one_rate(
    connections: Connections, operator: SyncConnection, per: str
) -> None:
    # Within the test nothing more becomes free than the burst.
    rate(operator, 10, "1 day", per, burst=10)
    for number in range(40):
        enqueue_for(operator, "t1", None if number % 2 else f"k{number}", number)
    workers = [register(connections) for _ in range(WORKERS)]
    with ThreadPoolExecutor() as threads:
        tasks = [threads.submit(claim, *worker, 4) for worker in workers for _ in range(4)]
        taken = [row.id for task in tasks for row in task.result()]

    assert len(taken) == len(set(taken)) == 10

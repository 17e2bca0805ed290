"""Producers and failing, dying workers at once: everything done once and in order."""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.queue_calls import claim, count, enqueue, register, value

pytestmark = pytest.mark.usefixtures("tenant")

KEYS = [f"key {number:02}" for number in range(20)]
PRODUCERS = 4
WORKERS = 3
MESSAGES = 2000
DEADLINE_SECONDS = 20


def produce(connection: SyncConnection, producer: int) -> None:
    """Enqueue this producer's share, numbered, in transactions of up to four keys."""
    chance = random.Random(producer)
    number = 0
    while number < MESSAGES // PRODUCERS:
        is_undone = chance.random() < 0.1
        # In the order of their names, as hold_lanes() takes the lanes of one statement.
        keys = sorted(chance.sample(KEYS, chance.randint(1, 4)))
        with connection.transaction(force_rollback=is_undone):
            for offset, key in enumerate(keys):
                enqueue(
                    connection,
                    key,
                    [producer, number + offset],
                    p_max_retries=1_000_000,
                    p_priority=chance.choice([0, 0, 1]),
                )
        if not is_undone:
            number += len(keys)


class Worker:
    """Claims and settles until it is told that all is done; fails, gives back and dies at times."""

    def __init__(self, connections: Connections, seed: int) -> None:
        self._chance = random.Random(seed)
        self._connections = connections
        self._connection, self._id = register(connections)
        self.deaths = self.failures = self.released = 0

    def work(self, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            was_over = is_over()
            claimed = claim(self._connection, self._id, limit=self._chance.randint(1, 40))
            if claimed:
                self._handle(claimed)
                continue
            freed = value(self._connection, "select chatsync.reap(), pg_sleep(0.002)")
            if was_over and not freed and not count(self._connection, "message_queue"):
                return
        raise AssertionError("messages were left")

    def _handle(self, claimed: list[Any]) -> None:
        match self._chance.random():
            # A message that was held by two dead workers would be dead-lettered.
            case draw if draw < 0.04 and not any(row.deaths for row in claimed):
                self._connection.close()
                self._connection, self._id = register(self._connections)
                self.deaths += 1
            case draw if draw < 0.1:
                with self._connection.transaction(force_rollback=True):
                    self._settle(claimed)
                self._connection.execute("select chatsync.release(%s)", [claimed[0].lease_id])
                self.released += 1
            case _:
                with self._connection.transaction():
                    self._settle(claimed)

    def _settle(self, claimed: list[Any]) -> None:
        done: list[Any] = []
        failed: dict[str, dict[str, object]] = {}
        untouched: list[int] = []
        for row in claimed:
            if row.ordering_key in failed:
                untouched.append(row.id)
            elif self._chance.random() < 0.02:
                seconds = self._chance.random() / 50
                failed[row.ordering_key] = {
                    "id": row.id,
                    "error": "x",
                    "retryAfterSeconds": seconds,
                }
            else:
                done.append(row)
        self.failures += len(failed)
        self._connection.cursor().executemany(
            "insert into public.done (key, label) values (%s, %s)",
            [(row.ordering_key, Jsonb(row.payload["label"])) for row in done],
        )
        self._connection.execute(
            "select chatsync.settle(%s, %s, %s, %s)",
            [
                claimed[0].lease_id,
                [row.id for row in done],
                Jsonb(list(failed.values())),
                untouched,
            ],
        )


def test_every_message_is_done_once_and_in_order_whatever_becomes_of_workers(
    connections: Connections, owner: SyncConnection
) -> None:
    owner.execute("reset role")
    owner.execute(
        "create table public.done (position bigint generated always as identity, key text,"
        " label jsonb)"
    )
    owner.execute("grant insert on public.done to chatsync_worker")
    with ThreadPoolExecutor() as threads:
        producers: list[Future[None]] = []
        for producer in range(PRODUCERS):
            connection = connections.open("chatsync_worker")
            producers.append(threads.submit(produce, connection, producer))
        workers = [Worker(connections, seed) for seed in range(WORKERS)]
        running = [
            threads.submit(worker.work, lambda: all(task.done() for task in producers))
            for worker in workers
        ]
        for task in [*producers, *running]:
            task.result()

    rows = owner.execute("select key, label from public.done order by position").fetchall()
    _check([(str(key), *label) for key, label in rows])  # pyright: ignore[reportGeneralTypeIssues]
    assert sum(worker.deaths for worker in workers) > 0
    assert sum(worker.failures for worker in workers) > 0
    assert sum(worker.released for worker in workers) > 0
    owner.execute("set role chatsync_owner")
    # With thousands of dead rows emptied lanes are left to it.
    owner.execute("select chatsync.sweep_lanes()")
    for table in ("failed_messages", "message_queue", "queue_lanes", "lane_turns"):
        assert count(owner, table) == 0, table


def _check(done: list[tuple[str, int, int]]) -> None:
    """Raise unless every message was done once, and in the order of its producer and key."""
    numbers: dict[int, list[int]] = {}
    lines: dict[tuple[str, int], list[int]] = {}
    for key, producer, number in done:
        numbers.setdefault(producer, []).append(number)
        lines.setdefault((key, producer), []).append(number)
    for producer in range(PRODUCERS):
        assert sorted(numbers[producer]) == list(range(len(numbers[producer])))
        assert len(numbers[producer]) >= MESSAGES // PRODUCERS
    for line, found in lines.items():
        assert found == sorted(found), line

"""Writers, stampers and a reader at once: nothing lost, nothing twice, nothing out of order."""

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from conftest import Connections, SyncConnection
from sql.log_calls import Numbered, publish, read, stamp
from sql.queue_calls import count, value

TENANTS = ("t1", "t2", "t3", "t4")
WRITERS = 4
TRANSACTIONS = 120
DEADLINE_SECONDS = 30


@dataclass
class History:
    """What writers committed, by tenant and writer, and what the reader was given, by tenant."""

    committed: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    read: dict[str, list[Numbered]] = field(default_factory=lambda: {t: [] for t in TENANTS})

    def check(self) -> None:
        for tenant, events in self.read.items():
            assert [event.seq for event in events] == list(range(1, len(events) + 1)), tenant
        given: dict[tuple[str, int], list[int]] = {}
        for tenant, events in self.read.items():
            for event in events:
                writer, number = event.label
                given.setdefault((tenant, writer), []).append(number)
        assert given == self.committed


def write(connection: SyncConnection, history: History, writer: int) -> None:
    """Commit events one by one and in groups, some of them late, some never."""
    chance = random.Random(writer)
    number = 0
    for _ in range(TRANSACTIONS):
        events: list[tuple[str, int]] = []
        kept = chance.random() > 0.15
        with connection.transaction(force_rollback=not kept):
            for _ in range(chance.choice((1, 1, 1, 2, 5))):
                number += 1
                tenant = chance.choice(TENANTS)
                publish(connection, tenant, [writer, number])
                events.append((tenant, number))
            if chance.random() < 0.1:
                connection.execute("select pg_sleep(%s)", [chance.random() / 50])
        for tenant, committed in events if kept else ():
            history.committed.setdefault((tenant, writer), []).append(committed)


def stamp_until(connection: SyncConnection, is_over: Callable[[], bool]) -> int:
    """The documented loop: stamp, then look at the outbox in a new statement without the lock."""
    rounds = 0
    while True:
        was_over = is_over()
        while value(connection, "select chatsync.outbox_waiting()"):
            stamp(connection, limit=3)
            rounds += 1
        if was_over:
            return rounds


def tail(connection: SyncConnection, history: History, is_over: Callable[[], bool]) -> None:
    """Read after the last number that was seen, until there is nothing more to come."""
    while True:
        was_over = is_over()
        cursor = {tenant: len(events) for tenant, events in history.read.items()}
        events = read(connection, cursor, limit=7)
        for event in events:
            assert event.seq == cursor[event.tenant] + 1, f"{event} is not next to {cursor}"
            cursor[event.tenant] = event.seq
            history.read[event.tenant].append(event)
        if was_over and not events:
            return


def test_a_tail_is_dense_and_complete_with_writers_and_stampers_at_once(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    for tenant in TENANTS:
        worker.execute("select chatsync.create_tenant(%s)", [tenant])
    history = History()
    began = time.monotonic()
    with ThreadPoolExecutor() as threads:

        def start(role_task: Callable[[SyncConnection], object]) -> Future[object]:
            connection = connections.open("chatsync_worker")
            return threads.submit(role_task, connection)

        def are_done(futures: list[Future[object]]) -> bool:
            return all(future.done() for future in futures)

        writers = [
            start(lambda connection, writer=writer: write(connection, history, writer))
            for writer in range(WRITERS)
        ]
        stampers = [
            start(lambda connection: stamp_until(connection, lambda: are_done(writers)))
            for _ in range(2)
        ]
        reader = start(lambda connection: tail(connection, history, lambda: are_done(stampers)))
        for future in [*writers, *stampers, reader]:
            future.result()

    assert time.monotonic() - began < DEADLINE_SECONDS
    history.check()
    assert sum(map(len, history.committed.values())) > WRITERS * TRANSACTIONS
    assert count(owner, "outbox") == 0
    assert count(owner, "event_log") == sum(map(len, history.read.values()))


def test_the_check_of_a_history_finds_what_is_wrong() -> None:
    good = [Numbered("t1", 1, [0, 1]), Numbered("t1", 2, [1, 1]), Numbered("t1", 3, [0, 2])]
    committed = {("t1", 0): [1, 2], ("t1", 1): [1]}
    History(committed, {"t1": good}).check()

    lost = good[:2]
    twice = [*good, good[-1]._replace(seq=4)]
    hole = [*good[:2], good[2]._replace(seq=4)]
    swapped = [good[2]._replace(seq=1), good[1], good[0]._replace(seq=3)]
    for bad in (lost, twice, hole, swapped):
        try:
            History(committed, {"t1": bad}).check()
        except AssertionError:
            continue
        raise AssertionError(f"{bad} was taken for good")

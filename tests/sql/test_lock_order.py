"""Everything that locks in the queue, at once and over few keys: nobody ever deadlocks.

The orders that the functions promise are only true together; one that takes its locks the other way
round meets the others here within a second or two.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import cancel, retry
from sql.queue_calls import QUEUE, claim, enqueue, register, value

KEYS = ["a", "b", "c", "d", None]
SESSIONS = 8
SECONDS = 6
# To be told that a worker has it, or has it no longer, is what happens to who comes too late.
EXPECTED = {"CS001", "CS005"}


class Session:
    """Calls one function after the other, as workers, producers and operators do."""

    def __init__(self, connections: Connections, inboxes: list[int], seed: int) -> None:
        self._connections = connections
        self._chance = random.Random(seed)
        self._inboxes = inboxes
        self._connection, self._worker_id = register(connections)
        self._owner = connections.open("chatsync_owner")
        self.calls: list[Callable[[], Any]] = [
            self.enqueue, self.enqueue_many, self.enqueue_many, self.enqueue_deliveries,
            self.claim_and_settle, self.claim_and_settle, self.claim_and_settle_some,
            self.claim_and_release,
            self.promote, self.reap, self.sweep_lanes, self.pause, self.resume,
            self.cancel_message, self.retry_message, self.move_messages, self.redrive,
            self.purge_queue, self.purge_dead_letters,
        ]  # fmt: skip

    def run(self, is_over: Callable[[], bool]) -> Counter[str]:
        """How often each function had something to do."""
        done: Counter[str] = Counter()
        while not is_over():
            call = self._chance.choice(self.calls)
            try:
                done[call.__name__] += bool(call())
            except psycopg.DatabaseError as error:
                if error.sqlstate not in EXPECTED:
                    raise
        return done

    def enqueue(self) -> int:
        return enqueue(
            self._connection, self._chance.choice(KEYS), 1, p_priority=self._chance.randint(0, 1)
        )

    def enqueue_many(self) -> list[int]:
        soon = value(self._connection, "select (now() + interval '5 ms')::text")
        messages = [
            {
                "queue": self._chance.choice([QUEUE, "parked"]),
                "tenant_id": "t1",
                "payload": {"label": 1},
                "ordering_key": self._chance.choice(KEYS),
                # One in a call: who has to begin anew with an earlier one, since its first message
                # is done meanwhile, has the later ones already.
                "dedupe_key": None if place else self._chance.choice("xyz"),
                "scheduled_at": self._chance.choice([soon, None, None]),
            }
            for place in range(6)
        ]
        return value(self._connection, "select chatsync.enqueue_many(%s)", [Jsonb(messages)])

    def enqueue_deliveries(self) -> bool:
        inboxes = self._chance.sample(self._inboxes, 2)
        self._connection.execute(
            "select chatsync.enqueue_deliveries(%s, array['c', 'c'], array['x', 'x']::bytea[])",
            [inboxes],
        )
        return True

    def claim_and_settle(self) -> list[Any]:
        claimed = self._claim()
        if claimed and self._chance.random() < 0.2:
            self._die_silently()
        # With something of its own, as a transactional handler does.
        with self._connection.transaction():
            if claimed and self._chance.random() < 0.3:
                self.enqueue()
            self._settle("chatsync.settle", claimed)
        return claimed

    def claim_and_settle_some(self) -> list[Any]:
        claimed = self._claim()
        while claimed:
            count = self._chance.randint(1, len(claimed))
            self._settle("chatsync.settle_some", claimed[:count])
            claimed = claimed[count:]
        return claimed or [1]

    def claim_and_release(self) -> list[Any]:
        claimed = self._claim()
        if claimed:
            self._connection.execute("select chatsync.release(%s)", [claimed[0].lease_id])
        return claimed

    def promote(self) -> bool:
        self._call("select chatsync.promote(%s)", QUEUE)
        return True

    def reap(self) -> int:
        return self._call("select chatsync.reap()")

    def sweep_lanes(self) -> int:
        if self._chance.random() < 0.3:
            # What a careless hand left.
            self._owner.execute(
                "delete from chatsync.lane_turns where turn in ("
                " select turn from chatsync.lane_turns where lease_id is null limit 1"
                " for update skip locked)"
            )
        return self._call("select chatsync.sweep_lanes()")

    def pause(self) -> bool:
        key = self._chance.choice(KEYS)
        self._call(
            "select chatsync.pause(%s, p_tenant_id => 't1', p_ordering_key => %s)", QUEUE, key
        )
        return True

    def resume(self) -> int:
        return sum(
            self._call(
                "select chatsync.resume(%s, p_tenant_id => 't1', p_ordering_key => %s)", QUEUE, key
            )
            for key in KEYS
        )

    def cancel_message(self) -> bool:
        return cancel(self._connection, self._some_message("pending", "retrying", "processing"))

    def retry_message(self) -> bool:
        return retry(self._connection, self._some_message("retrying", "scheduled"))

    def move_messages(self) -> int:
        there, back = self._chance.sample([QUEUE, "parked"], 2)
        return self._call("select chatsync.move_messages(%s, %s, 20)", there, back)

    def redrive(self) -> int:
        return self._call(
            "select count(*) from chatsync.redrive(p_error_like => '%%', p_limit => 20)"
        )

    def purge_queue(self) -> int:
        return self._call("select chatsync.purge_queue(%s, p_limit => 100)", QUEUE)

    def purge_dead_letters(self) -> int:
        return self._call("select chatsync.purge_dead_letters(p_error_like => '%%', p_limit => 2)")

    def _claim(self) -> list[Any]:
        return claim(self._connection, self._worker_id, self._chance.randint(1, 20))

    def _settle(self, function: str, claimed: list[Any]) -> None:
        if not claimed:
            return
        failed, untouched, done = [], [], []
        for row in claimed:
            chosen = self._chance.random()
            if chosen < 0.2:
                failure = {"id": row.id, "error": "x", "retryAfterSeconds": chosen * 5}
                failed.append({**failure, "isPermanent": chosen < 0.1})
            else:
                (untouched if chosen < 0.3 else done).append(row.id)
        self._connection.execute(
            sql.SQL("select {}(%s, %s, %s, %s)").format(sql.Identifier(*function.split("."))),
            [claimed[0].lease_id, done, Jsonb(failed), untouched],
        )

    def _die_silently(self) -> None:
        """Be taken for dead by the next reaper, and settle all the same."""
        self._owner.execute(
            "update chatsync.workers set lease_until = now() - interval '1 s' where worker_id = %s",
            [self._worker_id],
        )
        old, (self._connection, self._worker_id) = self._connection, register(self._connections)
        old.close()

    def _some_message(self, *statuses: str) -> int:
        found = value(
            self._owner,
            "select array_agg(id) from chatsync.message_queue where status = any (%s)",
            [list(statuses)],
        )
        return self._chance.choice(found or [0])

    def _call(self, query: LiteralString, *parameters: object) -> Any:
        return value(self._connection, query, parameters)


@pytest.mark.usefixtures("tenant")
def test_whatever_meets_nobody_deadlocks(connections: Connections, worker: SyncConnection) -> None:
    inboxes = [
        value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', %s)", [str(number)])
        for number in range(3)
    ]
    ends_at = time.monotonic() + SECONDS
    has_failed = threading.Event()

    def is_over() -> bool:
        return has_failed.is_set() or time.monotonic() > ends_at

    def run(session: Session) -> Counter[str]:
        try:
            return session.run(is_over)
        except BaseException:
            has_failed.set()
            raise

    sessions = [Session(connections, inboxes, seed) for seed in range(SESSIONS)]
    with ThreadPoolExecutor(SESSIONS) as threads:
        running = [threads.submit(run, session) for session in sessions]
    done: Counter[str] = Counter()
    for task in running:
        done += task.result()

    # Each of them had something to do.
    assert {name for name in done if done[name]} == {call.__name__ for call in sessions[0].calls}

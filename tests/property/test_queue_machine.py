"""Random histories of the queue: its functions on PostgreSQL against a model without lanes."""

import itertools
import sys
from contextlib import ExitStack
from functools import partial
from typing import LiteralString, cast

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from conftest import Connections
from property.queue_hands import (
    DEAD,
    ENQUEUE,
    LANES,
    SHARED_KEYS,
    STRANDED_LANES,
    Hands,
    at,
    column,
    set_clock,
    settle,
    stored,
)
from property.queue_model import MAX_RETRIES, Lease, Message, Order, QueueModel, Scope
from property.queue_steps import ENDS, LINES, ORDERS, PICKS, SCOPES, SETTINGS, WAITS, WORKERS
from sql.queue_calls import QUEUE, claim, value


class QueueMachine(RuleBasedStateMachine):
    def __init__(self, hands: Hands) -> None:
        super().__init__()
        self.hands = hands
        hands.begin()
        self.model = QueueModel()
        self.origins: dict[int, Message] = {}
        self.lost: list[Lease] = []
        # Lanes that the open transaction makes: whoever needs one waits for its end.
        self.made: set[tuple[str, str | None]] = set()
        self.is_open = False

    @rule(lines=st.lists(LINES, min_size=1, max_size=4), order=ORDERS)
    def enqueue(self, lines: list[tuple[str, str | None]], order: Order) -> None:
        for line in lines:
            self.enqueue_one(line, order)

    def enqueue_one(self, line: tuple[str, str | None], order: Order) -> None:
        tenant, key = line
        first = self.model.queued(tenant, order.dedupe)
        if not order.is_open and (line in self.made or (first and not first.is_committed)):
            self.end_transaction(True)
            first = self.model.queued(tenant, order.dedupe)
        connection = self.hands.producer
        if order.is_open:
            connection = self.hands.transaction
            if not self.is_open:
                connection.execute("begin")
                self.is_open = True
            if key is not None and f"{QUEUE}/{tenant}/{key}" not in column(self.hands.owner, LANES):
                self.made.add(line)
        due = self.model.now + (order.delay or 0)
        scheduled_at = None if order.delay is None else at(due)
        arguments = [QUEUE, tenant, key, order.dedupe, order.priority, scheduled_at, MAX_RETRIES]
        id = value(connection, ENQUEUE, arguments)
        if first:
            assert id == first.id
            return
        status = "pending" if order.delay is None else "scheduled"
        message = Message(
            id, tenant, key, due, status, order.dedupe, is_committed=not order.is_open
        )
        self.model.add(message)
        self.origins[id] = message

    @precondition(lambda self: self.is_open)
    @rule(is_committed=st.booleans())
    def end_transaction(self, is_committed: bool) -> None:
        self.hands.transaction.execute("commit" if is_committed else "rollback")
        # A rollback takes the clock back as well.
        set_clock(self.hands.transaction, self.model.now)
        self.is_open = False
        self.made.clear()
        for message in [m for m in self.model.messages.values() if not m.is_committed]:
            if is_committed:
                message.is_committed = True
            else:
                del self.model.messages[message.id]

    @rule(name=WORKERS, limit=st.integers(1, 5))
    def claim(self, name: str, limit: int) -> None:
        self.wait_for_lanes(*self.model.due_scheduled())
        connection, worker_id = self.hands.workers[name]
        claimed = claim(connection, worker_id, limit)
        self.model.promote()
        runs = self.model.runnable()
        assert claimed or not self.model.must_run(), runs
        if not claimed:
            return
        ids = {row.id for row in claimed}
        assert len(ids) == len(claimed) <= limit
        assert len({row.lease_id for row in claimed}) == 1
        # Of every line its first ones, and nothing else.
        taken = [[m.id in ids for m in run] for run in runs]
        assert all(line == sorted(line, reverse=True) for line in taken), (ids, runs)
        assert sum(map(sum, taken)) == len(ids), (ids, runs)
        if any(self.model.messages[id].deaths > 0 for id in ids):
            assert len(ids) == 1
        self.model.claim(name, claimed[0].lease_id, sorted(ids))

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS, ends=ENDS)
    def settle(self, pick: int, ends: list[str]) -> None:
        lease = self.pick_lease(pick)
        done: list[int] = []
        failed: list[dict[str, object]] = []
        untouched: list[int] = []
        for message, end in zip(lease.messages, itertools.cycle(ends), strict=False):
            if end == "done":
                done.append(message.id)
                self.model.finish(message)
            elif end == "untouched":
                untouched.append(message.id)
                self.model.give_back(message)
            else:
                is_permanent, wait = end == "permanent", WAITS.get(end, 0)
                failure = {"error": end, "isPermanent": is_permanent, "retryAfterSeconds": wait}
                failed.append({"id": message.id, **failure})
                self.model.fail(message, wait, is_permanent=is_permanent)
        connection = self.hands.workers[lease.worker][0]
        settle(connection, lease.id, done, failed, untouched)
        del self.model.leases[lease.id]

    @rule(name=WORKERS, limit=st.integers(1, 5), ends=ENDS)
    def claim_and_settle(self, name: str, limit: int, ends: list[str]) -> None:
        count = len(self.model.leases)
        self.claim(name, limit)
        if len(self.model.leases) > count:
            self.settle(count, ends)

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        lease = self.pick_lease(pick)
        connection = self.hands.workers[lease.worker][0]
        connection.execute("select chatsync.release(%s)", [lease.id])
        for message in lease.messages:
            self.model.give_back(message)
        del self.model.leases[lease.id]

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS)
    def die(self, pick: int) -> None:
        name = self.pick_lease(pick).worker
        self.hands.replace(name, self.model.now)
        self.lost += self.model.kill(name)

    @rule(name=WORKERS, limit=st.integers(2, 5))
    def claim_and_die(self, name: str, limit: int) -> None:
        self.claim(name, limit)
        if self.model.leases:
            self.die(-1)

    @precondition(lambda self: self.lost)
    @rule(pick=PICKS)
    def settle_what_is_lost(self, pick: int) -> None:
        lease = self.lost[pick % len(self.lost)]
        connection = self.hands.workers[lease.worker][0]
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            settle(connection, lease.id, [message.id for message in lease.messages], [], [])
        assert caught.value.sqlstate == "CS001"

    @rule(seconds=st.sampled_from([1, 5, 60]), name=WORKERS)
    def advance(self, seconds: float, name: str) -> None:
        self.model.now += seconds
        self.hands.set_clock(self.model.now)
        self.sweep(name)

    def sweep(self, name: str) -> None:
        self.hands.workers[name][0].execute("select chatsync.sweep_lanes()")

    @precondition(lambda self: not self.model.pauses)
    @rule(scopes=st.lists(SCOPES, min_size=1, max_size=2))
    def pause(self, scopes: list[Scope]) -> None:
        call = "select chatsync.pause(%s, %s, p_ordering_key => %s)"
        for scope in scopes:
            self.hands.operator.execute(call, [QUEUE, *scope])
            self.model.pauses.add(scope)

    @precondition(lambda self: self.model.pauses)
    @rule(pick=PICKS)
    def resume(self, pick: int) -> None:
        scope = sorted(self.model.pauses, key=str)[pick % len(self.model.pauses)]
        call = "select chatsync.resume(%s, %s, p_ordering_key => %s)"
        assert value(self.hands.operator, call, [QUEUE, *scope]) is True
        self.model.pauses.remove(scope)

    @precondition(lambda self: self.model.committed())
    @rule(pick=PICKS)
    def retry_message(self, pick: int) -> None:
        message = self.pick_message(pick)
        was_later = message.status in ("retrying", "scheduled")
        if self.change(message, "select chatsync.retry_message(%s)", is_changed=was_later):
            message.status, message.due = "pending", self.model.now

    @precondition(lambda self: self.model.committed())
    @rule(pick=PICKS)
    def cancel_message(self, pick: int) -> None:
        message = self.pick_message(pick)
        if self.change(message, "select chatsync.cancel_message(%s, null)", is_changed=True):
            self.model.bury(message)

    @precondition(lambda self: self.model.dead)
    @rule()
    def redrive(self) -> None:
        dead = sorted(self.model.dead)
        self.wait_for_lanes(*(self.origins[id] for id in dead))
        new_ids = column(self.hands.operator, "select new_id from chatsync.redrive(%s)", QUEUE)
        for dead_id, new_id in zip(dead, sorted(new_ids), strict=True):
            self.model.revive(dead_id, new_id, self.origins[dead_id])
            self.origins[new_id] = self.model.messages[new_id]

    @invariant()
    def promises_are_kept(self) -> None:
        # Nothing is lost, nothing is there twice, and nothing is charged wrongly.
        assert stored(self.hands.owner) == {m.id: m.state for m in self.model.committed()}
        assert column(self.hands.owner, DEAD) == sorted(self.model.dead)
        assert column(self.hands.owner, SHARED_KEYS) == []
        assert column(self.hands.owner, STRANDED_LANES) == []

    def teardown(self) -> None:
        if self.is_open:
            self.end_transaction(True)
        # What has failed already has said why.
        if sys.exception() is None:
            self.drain()

    def drain(self) -> None:
        while self.model.pauses:
            self.resume(0)
        self.advance(1_000_000, "A")
        while self.model.leases:
            self.settle(0, ["done"])
        while self.model.messages:
            self.claim("A", 5)
            self.settle(0, ["done"])
        self.claim("A", 5)
        self.promises_are_kept()
        self.sweep("A")
        query = (
            "select lane from chatsync.queue_lanes union all select lane from chatsync.lane_turns"
        )
        assert column(self.hands.owner, query) == []

    def wait_for_lanes(self, *messages: Message) -> None:
        if any((message.tenant, message.key) in self.made for message in messages):
            self.end_transaction(True)

    def pick_lease(self, pick: int) -> Lease:
        return list(self.model.leases.values())[pick % len(self.model.leases)]

    def pick_message(self, pick: int) -> Message:
        messages = self.model.committed()
        message = messages[pick % len(messages)]
        self.wait_for_lanes(message)
        return message

    def change(self, message: Message, call: LiteralString, *, is_changed: bool) -> bool:
        """Whether the operator's call changed it; what a worker has stays as it is."""
        if message.lease is None:
            assert value(self.hands.operator, call, [message.id]) is is_changed
            return is_changed
        with pytest.raises(psycopg.errors.DatabaseError) as caught:
            self.hands.operator.execute(call, [message.id])
        assert caught.value.sqlstate == "CS005"
        return False


def test_every_history_keeps_the_promises(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A lock that is never let go fails its history instead of hanging the run.
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=5s")
    with ExitStack() as stack:
        hands = Hands(Connections(database_url, stack))
        run_state_machine_as_test(
            cast("type[QueueMachine]", partial(QueueMachine, hands)),
            settings=SETTINGS,
        )

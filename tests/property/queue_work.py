"""Random histories of the queue, its work: who enqueues, claims, settles, dies and comes back."""

import itertools

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from property.queue_hands import (
    ENQUEUE,
    LANES,
    Hands,
    at,
    column,
    set_clock,
    settle,
    settle_some,
)
from property.queue_model import MAX_RETRIES, Lease, Message, Order, QueueModel
from property.queue_steps import ENDS, LINES, ORDERS, PICKS, WAITS, WORKERS
from sql.queue_calls import QUEUE, claim, value


class QueueWork(RuleBasedStateMachine):
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
        outcome = self.end(lease.messages, ends)
        settle(self.hands.workers[lease.worker][0], lease.id, *outcome)
        del self.model.leases[lease.id]

    @precondition(lambda self: self.model.leases)
    @rule(pick=PICKS, some=PICKS, ends=ENDS, name=WORKERS)
    def settle_some(self, pick: int, some: int, ends: list[str], name: str) -> None:
        """The first of each key go before the others; somebody claims what is behind them."""
        lease = self.pick_lease(pick)
        number = 1 + some % len(lease.messages)
        outcome = self.end(lease.messages[:number], ends)
        settle_some(self.hands.workers[lease.worker][0], lease.id, *outcome)
        lease.messages = lease.messages[number:]
        if not lease.messages:
            del self.model.leases[lease.id]
        self.claim(name, 5)

    def end(
        self, messages: list[Message], ends: list[str]
    ) -> tuple[list[int], list[dict[str, object]], list[int]]:
        """Ends them in the model; returns what to settle: done, failed, untouched."""
        done: list[int] = []
        failed: list[dict[str, object]] = []
        untouched: list[int] = []
        for message, end in zip(messages, itertools.cycle(ends), strict=False):
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
        return done, failed, untouched

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
        self.hands.workers[name][0].execute(
            "select chatsync.sweep_lanes(), chatsync.forget_buckets()"
        )

    def wait_for_lanes(self, *messages: Message) -> None:
        if any((message.tenant, message.key) in self.made for message in messages):
            self.end_transaction(True)

    def pick_lease(self, pick: int) -> Lease:
        return list(self.model.leases.values())[pick % len(self.model.leases)]

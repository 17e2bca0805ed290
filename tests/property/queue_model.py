"""The queue as plain lists: what may be claimed, who has what, and what it has been charged.

It knows no lanes and no turns: those are how the database finds out, and not what it promises.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from property.queue_limit_model import LimitModel

MAX_RETRIES = 2

Scope = tuple[str | None, str | None]


@dataclass
class Message:
    id: int
    tenant: str
    key: str | None
    due: float
    status: str
    dedupe: str | None = None
    attempts: int = 0
    deaths: int = 0
    lease: int | None = None
    is_committed: bool = True

    @property
    def state(self) -> tuple[str, int | None, int, int]:
        return self.status, self.lease, self.attempts, self.deaths


@dataclass
class Order:
    """How something is enqueued; is_open: in a transaction that ends later."""

    priority: int
    delay: float | None
    dedupe: str | None
    is_open: bool


@dataclass
class Lease:
    id: int
    worker: str
    messages: list[Message]


class QueueModel:
    def __init__(self) -> None:
        self.now = 0.0
        self.messages: dict[int, Message] = {}
        self.leases: dict[int, Lease] = {}
        self.dead: set[int] = set()
        self.done: set[int] = set()
        # Until when, by tenant and key; (None, None) is the whole queue.
        self.pauses: dict[Scope, float] = {}
        self.limits = LimitModel()
        # Whether a failed message lets the others of its key go first.
        self.skips = False

    def add(self, message: Message) -> None:
        assert message.id not in self.messages.keys() | self.done | self.dead
        self.messages[message.id] = message

    def queued(self, tenant: str, dedupe: str | None) -> Message | None:
        """Who waits already under this dedupe key."""
        if dedupe is None:
            return None
        found = (m for m in self.messages.values() if (m.tenant, m.dedupe) == (tenant, dedupe))
        return next(found, None)

    def committed(self) -> list[Message]:
        return sorted((m for m in self.messages.values() if m.is_committed), key=lambda m: m.id)

    def waiting(self) -> list[Message]:
        return [m for m in self.committed() if m.lease is None]

    def due_scheduled(self) -> list[Message]:
        return [m for m in self.committed() if m.status == "scheduled" and m.due <= self.now]

    def must_run(self) -> bool:
        """Whether a claim may not be empty."""
        # A head that came in front of a retry, by a late commit or promotion, may wait with it.
        waiting = {
            (m.tenant, m.key)
            for m in self.committed()
            if m.key is not None and m.status == "retrying" and m.due > self.now
        }
        return any(
            (run[0].tenant, run[0].key) not in waiting
            and self.limits.has_room(run[0], self.running(), self.now)
            for run in self.runnable()
        )

    def running(self) -> list[Message]:
        return [m for m in self.messages.values() if m.lease is not None]

    def runnable(self) -> list[list[Message]]:
        """What a claim may take: of each key its messages in order, and each without one alone."""
        if self.lasts((None, None)):
            return []
        lines: dict[object, list[Message]] = {}
        for message in self.committed():
            if message.status != "scheduled" and not self.is_paused(message):
                # A message without a key is a line of its own.
                line = message.id if message.key is None else (message.tenant, message.key)
                lines.setdefault(line, []).append(message)
        return [run for line in lines.values() if (run := self._free_run(line))]

    def claim(self, worker: str, lease_id: int, ids: Iterable[int]) -> None:
        messages = [self.messages[id] for id in ids]
        self.limits.take(messages, self.running(), self.now)
        for message in messages:
            message.status, message.lease = "processing", lease_id
            message.attempts += 1
        self.leases[lease_id] = Lease(lease_id, worker, messages)

    def promote(self) -> None:
        for message in self.committed():
            is_later = message.status == "scheduled" or (
                message.status == "retrying" and message.key is None
            )
            if is_later and message.due <= self.now:
                message.status = "pending"
        self.pauses = {scope: until for scope, until in self.pauses.items() if until > self.now}

    def finish(self, message: Message) -> None:
        del self.messages[message.id]
        self.done.add(message.id)

    def bury(self, message: Message) -> None:
        del self.messages[message.id]
        self.dead.add(message.id)

    def fail(self, message: Message, retry_after: float, *, is_permanent: bool) -> None:
        if is_permanent or message.attempts > MAX_RETRIES:
            self.bury(message)
            return
        is_skipped = self.skips and message.key is not None
        message.status = "scheduled" if is_skipped else "retrying"
        message.lease, message.deaths = None, 0
        message.due = self.now + retry_after

    def give_back(self, message: Message) -> None:
        message.status, message.lease = "pending", None
        message.attempts -= 1

    def kill(self, worker: str) -> list[Lease]:
        """What the worker held is suspect; what it held alone for the second time is dead."""
        lost = [lease for lease in self.leases.values() if lease.worker == worker]
        for lease in lost:
            del self.leases[lease.id]
            if len(lease.messages) == 1 and lease.messages[0].deaths > 0:
                self.bury(lease.messages[0])
                continue
            for message in lease.messages:
                message.status, message.lease = "pending", None
                message.deaths += 1
        return lost

    def revive(self, dead_id: int, new_id: int, origin: Message) -> None:
        self.dead.remove(dead_id)
        self.add(Message(new_id, origin.tenant, origin.key, self.now, "pending"))

    def is_paused(self, message: Message) -> bool:
        scopes: set[Scope] = {(None, None), (message.tenant, None)}
        if message.key is not None:
            scopes.add((message.tenant, message.key))
        return any(map(self.lasts, scopes))

    def lasts(self, scope: Scope) -> bool:
        return self.pauses.get(scope, 0.0) > self.now

    def _free_run(self, line: list[Message]) -> list[Message]:
        """The first of a line, up to one that has to wait or to a suspect, which runs alone."""
        if any(message.lease is not None for message in line):
            return []
        run: list[Message] = []
        for message in line:
            if message.status == "retrying" and message.due > self.now:
                break
            if message.deaths > 0:
                return run or [message]
            run.append(message)
        return run

"""What a crash test has: a worker that is doomed, a spare one, a producer, and what came of it."""

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from conftest import SyncConnection
from crash.history import check
from crash.processes import Producer, WorkerProcess, worker_process
from crash.recording import GATES, close_gate, histories, install, open_gates, waiting_queues
from service.harness import wait_for
from service.worker_api import is_empty
from sql.queue_calls import value


@dataclass
class Scene:
    database_url: str
    folder: Path
    doomed: WorkerProcess
    spare: WorkerProcess
    producer: Producer
    struck_at: float = 0.0
    owner: SyncConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connect()

    def reconnect(self) -> None:
        """After PostgreSQL was restarted."""
        self.owner.close()
        self._connect()

    def _connect(self) -> None:
        self.owner = psycopg.connect(self.database_url, autocommit=True)
        self.owner.execute("set role chatsync_owner")

    @contextmanager
    def stopped_at(self, point: str) -> Generator[None]:
        """Bring the doomed worker to a point in the midst of its work; it is let go afterwards."""
        self.doomed.say(point)
        self.producer.enqueue(1)
        wait_for(lambda: is_empty(self.owner), "the end of what came first")
        with ExitStack() as stack:
            if point in GATES:
                close_gate(self.owner, point, self.doomed.name)
                # After a restart, by another connection than the one that closed it.
                stack.callback(lambda: open_gates(self.owner))
            self.producer.enqueue(2, stops=True)
            wait_for(lambda: self._is_stopped_at(point), f"{point} in both queues")
            self.struck_at = time.time()
            yield

    def expire_lease(self) -> None:
        """Let the doomed worker have been silent for longer than its lease."""
        wait_for(lambda: waiting_queues(self.owner) == 0, "the way through the gate")
        self.owner.execute(
            "update chatsync.workers set lease_until = chatsync.now() - interval '1 s'"
            " where name = %s",
            [self.doomed.name],
        )

    def has_idle_transaction(self) -> bool:
        return value(
            self.owner,
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and state like 'idle in transaction%%')",
        )

    def cut_off(self) -> None:
        """End all sessions of workers, as an operator or a failover does."""
        with psycopg.connect(self.database_url, autocommit=True) as application:
            application.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name like 'chatsync%'"
            )

    def without_fence(self) -> None:
        """Make settle() as it must never be."""
        whole = "chatsync.settle(bigint, bigint[], jsonb, bigint[], boolean)"
        definition = value(self.owner, "select pg_get_functiondef(%s::regprocedure)", [whole])
        fence = "if v_settled <> "
        assert definition.count(fence) == 1
        self.owner.execute(definition.replace(fence, "if false and v_settled <> ").encode())

    def seconds_to_take_over(self) -> float | None:
        """From the trouble to the first message that the spare got of those the doomed had."""
        return value(
            self.owner,
            "select extract(epoch from min(later.at))::float - %s"
            " from crash.history as first join crash.history as later using (queue, n)"
            " where first.kind = 'given' and first.worker = %s"
            "  and later.kind = 'given' and later.worker = %s",
            [self.struck_at, self.doomed.name, self.spare.name],
        )

    def findings(self) -> dict[str, Any]:
        """What is not as it was promised, and what is left; nothing, if all is well."""
        calls = self.folder / "calls"
        found: dict[str, Any] = {
            table: value(
                self.owner,
                sql.SQL("select count(*) from {}").format(sql.Identifier("chatsync", table)),
            )
            for table in ("failed_messages", "queue_lanes", "lane_turns")
        }
        for queue, history in histories(self.owner, calls, self.producer.told).items():
            given = {record.worker for record in history if record.kind == "given"}
            assert self.doomed.name in given
            found[queue] = check(history)
        return {name: finding for name, finding in found.items() if finding}

    def _is_stopped_at(self, point: str) -> bool:
        return self.doomed.is_stopped() if point not in GATES else waiting_queues(self.owner) == 2


@contextmanager
def scene_in(database_url: str, folder: Path) -> Generator[Scene]:
    with ExitStack() as stack:
        # They start while the database is prepared.
        doomed, spare = (
            stack.enter_context(worker_process(folder, database_url, name))
            for name in ("doomed", "spare")
        )
        install(database_url)
        scene = Scene(database_url, folder, doomed, spare, Producer(database_url))
        try:
            yield scene
        finally:
            scene.owner.close()
            scene.producer.close()

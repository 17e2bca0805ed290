"""The connections of a history of the queue, and a clock that they share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, register, value

# Ahead of the server's own clock: whoever registered before PostgreSQL started was not killed.
BEGINNING = datetime(2100, 1, 1, tzinfo=UTC)
ENQUEUE = """
    select chatsync.enqueue(%s, %s, 'test', '{}', p_ordering_key => %s, p_dedupe_key => %s,
      p_priority => %s::smallint, p_scheduled_at => %s, p_max_retries => %s)
"""
LANES = "select lane from chatsync.queue_lanes union select lane from chatsync.lane_turns"
DEAD = "select original_message_id from chatsync.failed_messages order by 1"
# Keys of which two batches are in flight.
SHARED_KEYS = """
    select lane_key from chatsync.message_queue
    where lane_key is not null and lease_id is not null
    group by lane_key having count(distinct lease_id) > 1
"""
LIMIT_IN_FLIGHT = "select chatsync.limit_in_flight(%s, %s, %s, %s)"
LIMIT_RATE = """
    select chatsync.limit_rate(%s, %s, make_interval(secs => %s), %s, %s, p_burst => 1)
"""
LIFT = "select chatsync.lift_limit(%s, %s, %s, %s)"
CROWDED = "select bucket from chatsync.limit_buckets where is_crowded"
STRANDED_LANES = """
    select lane from chatsync.queue_lanes
    where lane not in (select lane from chatsync.lane_turns)
"""


class Hands:
    """Everybody's connection; they stay open from one history to the next."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.owner = connections.open("chatsync_owner")
        self.producer = connections.open("chatsync_producer")
        self.transaction = connections.open("chatsync_producer")
        self.operator = connections.open("chatsync_operator")
        self.workers = {"A": register(connections), "B": register(connections)}
        for tenant in ("t1", "t2"):
            value(self.workers["A"][0], "select chatsync.create_tenant(%s)", [tenant])

    def begin(self) -> None:
        self.transaction.rollback()
        for table in ("message_queue", "lane_turns", "queue_lanes", "queue_pauses", "queue_limits"):
            self.owner.execute(f"delete from chatsync.{table}".encode())
        self.owner.execute("delete from chatsync.failed_messages")
        self.set_clock(0)
        for name, (connection, worker_id) in self.workers.items():
            connection.execute("select chatsync.unregister_worker(%s)", [worker_id])
            new_id = value(connection, "select chatsync.register_worker(%s)", [name])
            self.workers[name] = connection, new_id

    def set_policy(self, when_head_fails: str) -> None:
        self.owner.execute("delete from chatsync.queue_policies")
        self.owner.execute(
            "insert into chatsync.queue_policies (queue, when_head_fails) values (%s, %s)",
            [QUEUE, when_head_fails],
        )

    def replace(self, name: str, now: float) -> None:
        """A worker dies and another one takes its name."""
        self.workers[name][0].close()
        (survivor,) = (hand for other, hand in self.workers.items() if other != name)
        dead_id = self.workers[name][1]
        # The backend of a closed connection drops its lock a moment after the socket is gone.
        for _ in range(500):
            survivor[0].execute("select chatsync.reap()")
            query = "select exists (select from chatsync.workers where worker_id = %s)"
            if not value(survivor[0], query, [dead_id]):
                break
            self.owner.execute("select pg_sleep(0.002)")
        else:
            raise AssertionError("the dead worker was never reaped")
        connection = self.connections.open("chatsync_worker")
        set_clock(connection, now)
        new_id = value(connection, "select chatsync.register_worker(%s)", [name])
        self.workers[name] = connection, new_id

    def set_clock(self, now: float) -> None:
        workers = [connection for connection, _ in self.workers.values()]
        for connection in (self.producer, self.transaction, self.operator, *workers):
            set_clock(connection, now)
        for connection, worker_id in self.workers.values():
            connection.execute("select chatsync.heartbeat(%s)", [worker_id])


def at(now: float) -> datetime:
    return BEGINNING + timedelta(seconds=now)


def set_clock(connection: SyncConnection, now: float) -> None:
    connection.execute("select set_config('chatsync.now', %s, false)", [at(now).isoformat()])


def settle(
    connection: SyncConnection,
    lease_id: int,
    done: list[int],
    failed: list[dict[str, object]],
    untouched: list[int],
) -> None:
    connection.execute(
        "select chatsync.settle(%s, %s, %s, %s)", [lease_id, done, Jsonb(failed), untouched]
    )


def settle_some(
    connection: SyncConnection,
    lease_id: int,
    done: list[int],
    failed: list[dict[str, object]],
    untouched: list[int],
) -> None:
    connection.execute(
        "select chatsync.settle_some(%s, %s, %s, %s)", [lease_id, done, Jsonb(failed), untouched]
    )


def column(connection: SyncConnection, query: str, *parameters: object) -> list[Any]:
    return [row[0] for row in connection.execute(query.encode(), parameters).fetchall()]


def stored(owner: SyncConnection) -> dict[int, Any]:
    """Status, lease, attempts and deaths of what is in the queue, by id."""
    query = """
        select id, case status when 'paused' then 'pending' else status end, lease_id, retry_count,
          deaths
        from chatsync.message_queue
    """
    rows: list[Any] = owner.execute(query).fetchall()
    return {row[0]: row[1:] for row in rows}

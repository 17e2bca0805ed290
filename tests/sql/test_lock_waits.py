"""For which rows each function of the queue waits, and for which it never does.

This is the lock order, one function at a time: lanes, then turns, then messages; a settlement has
its messages and turns already by its lease, and passes the lanes that others hold. Whoever begins
to wait for one thing more closes a circle with somebody.
"""

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.operator_calls import cancel
from sql.queue_calls import QUEUE, claim, enqueue, register, settle, value

# The rows that somebody else has locked or, of the turns, is replacing: it makes a difference to an
# insert that meets one.
LOCKED: dict[str, LiteralString] = {
    "lanes": "select from chatsync.queue_lanes for update",
    "turns": "select from chatsync.lane_turns for update",
    "changed turns": "update chatsync.lane_turns set ready_at = ready_at",
    "messages": "select from chatsync.message_queue for update",
    "dead letters": "select from chatsync.failed_messages for update",
    "pauses": "select from chatsync.queue_pauses for update",
    "workers": "select from chatsync.workers for update",
}
PRODUCER = {"lanes", "changed turns"}
OPERATOR = {"lanes", "turns", "changed turns"}
SETTLEMENT = {"turns", "changed turns", "messages"}

CALLS: dict[str, tuple[LiteralString, set[str]]] = {
    "enqueue": (
        "select chatsync.enqueue('outbound', 't1', 'test', '{}', p_ordering_key => 'free')",
        PRODUCER,
    ),
    "enqueue_many": ("select chatsync.enqueue_many(%(many)s)", PRODUCER),
    "enqueue_deliveries": (
        "select chatsync.enqueue_deliveries(array[%(inbox)s::bigint], array['c'],"
        " array['x'::bytea])",
        PRODUCER,
    ),
    "claim": ("select count(*) from chatsync.claim('outbound', %(worker)s)", {"messages"}),
    "claim without keys": (
        "select count(*) from chatsync.claim('keyless', %(worker)s)", set(),
    ),
    "promote": ("select chatsync.promote('later')", PRODUCER),
    "settle": ("select chatsync.settle(%(lease)s, %(ids)s)", SETTLEMENT),
    "settle_some": ("select chatsync.settle_some(%(lease)s, %(ids)s)", SETTLEMENT),
    "release": ("select chatsync.release(%(lease)s)", SETTLEMENT),
    "reap": ("select chatsync.reap()", {"turns", "changed turns"}),
    "sweep_lanes": ("select chatsync.sweep_lanes()", set()),
    "resume": (
        "select chatsync.resume('outbound', p_tenant_id => 't1', p_ordering_key => 'paused')",
        {"turns", "changed turns", "pauses"},
    ),
    "cancel_message": ("select chatsync.cancel_message(%(put_off)s, 'why')", OPERATOR),
    "retry_message": ("select chatsync.retry_message(%(put_off)s)", OPERATOR),
    "move_messages": ("select chatsync.move_messages('outbound', 'parked')", PRODUCER),
    "purge_queue": ("select chatsync.purge_queue('outbound')", set()),
    "redrive": ("select count(*) from chatsync.redrive('outbound')", PRODUCER),
    "purge_dead_letters": ("select chatsync.purge_dead_letters('outbound')", set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def named(shared: Connections) -> dict[str, Any]:
    """A queue in which each of the calls has something to do, and what they are called with."""
    owner = shared.open("chatsync_owner")
    worker = shared.open("chatsync_worker")
    worker.execute("select chatsync.create_tenant('t1')")
    inbox = value(worker, "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')")

    _, dead_id = register(shared)
    enqueue(worker, "dead", 1)
    claim(worker, dead_id)
    owner.execute("update chatsync.workers set lease_until = now() - interval '1 s'")
    living, worker_id = register(shared)
    put_off = enqueue(worker, "put off", 1)
    settle(
        living, claim(living, worker_id), done=[],
        failed=[{"id": put_off, "error": "busy", "retryAfterSeconds": 3600}],
    )  # fmt: skip
    enqueue(worker, "paused", 1)
    worker.execute(
        "select chatsync.pause('outbound', p_tenant_id => 't1', p_ordering_key => 'paused')"
    )
    enqueue(worker, "leased", 1)
    (leased,) = claim(living, worker_id)
    cancel(worker, enqueue(worker, "free", 1))
    for key in ("free", "free too", None):
        enqueue(worker, key, 1)
    in_queue: LiteralString = "select chatsync.enqueue(%s, 't1', 'test', '{}', %s)"
    for queue, key in (
        ("keyless", None),
        ("later", "due"),
        ("stray", "stray"),
        ("parked", "free"),
        ("inbound", str(inbox)),
    ):
        worker.execute(in_queue, [queue, key])
    worker.execute(
        "select chatsync.enqueue('later', 't1', 'test', '{}', 'due', p_scheduled_at => %s)",
        [value(worker, "select clock_timestamp() + interval '50 ms'")],
    )
    owner.execute("delete from chatsync.lane_turns where queue = 'stray'")
    worker.execute("select pg_sleep(0.1)")
    messages = [{"queue": QUEUE, "tenant_id": "t1", "ordering_key": "free"}]
    return {
        "many": Jsonb([{**message, "payload": {}} for message in messages]),
        "inbox": inbox,
        "worker": worker_id,
        "lease": leased.lease_id,
        "ids": [leased.id],
        "put_off": put_off,
        # Their locks live as long as they do.
        "connections": [owner, worker, living],
    }


def call(caller: SyncConnection, query: LiteralString, named: dict[str, Any]) -> Any:
    used = {name: what for name, what in named.items() if f"%({name})s" in query}
    with caller.transaction(force_rollback=True):
        row = caller.execute(query, used).fetchone()
    assert row is not None
    return row[0]


def waits(caller: SyncConnection, query: LiteralString, named: dict[str, Any]) -> bool:
    try:
        call(caller, query, named)
    except psycopg.errors.LockNotAvailable:
        return True
    except psycopg.DatabaseError as error:
        # A message that is in somebody's hands: the operator is told so.
        if error.sqlstate != "CS005":
            raise
    return False


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_for_what_it_says_and_for_nothing_else(
    shared: Connections, named: dict[str, Any], name: str
) -> None:
    query, expected = CALLS[name]
    caller, other = shared.open("chatsync_worker"), shared.open("chatsync_owner")
    caller.execute("set lock_timeout = '100ms'")
    done = call(caller, query, named)
    # False is a settlement's: there is no further work in its lanes.
    assert done is False or done != 0, "it has nothing to do, and proves nothing"

    found: set[str] = set()
    for what, lock in LOCKED.items():
        with other.transaction(force_rollback=True):
            other.execute(lock)
            if waits(caller, query, named):
                found.add(what)
    assert found == expected

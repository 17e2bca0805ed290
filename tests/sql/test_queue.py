"""The queue's functions as a worker calls them: order, leases, fences, retries, dead letters."""

from collections.abc import Iterable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection

QUEUE = "outbound"


@pytest.fixture(autouse=True)
def tenant(worker: SyncConnection) -> None:
    worker.execute("select chatsync.create_tenant('t1')")


def enqueue(connection: SyncConnection, key: str | None, label: object, **named: object) -> int:
    arguments = {"p_ordering_key": key, **named}
    assignments = ", ".join(f"{name} => %({name})s" for name in arguments)
    row = connection.execute(
        f"select chatsync.enqueue(%(queue)s, 't1', 'test', %(payload)s, {assignments})".encode(),
        {"queue": QUEUE, "payload": Jsonb({"label": label}), **arguments},
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def register(connections: Connections) -> tuple[SyncConnection, int]:
    connection = connections.open("chatsync_worker")
    row = connection.execute("select chatsync.register_worker('test')").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return connection, row[0]


def claim(connection: SyncConnection, worker_id: int, limit: int = 100) -> list[Any]:
    cursor = connection.cursor(row_factory=psycopg.rows.namedtuple_row)
    return cursor.execute(
        "select *, payload ->> 'label' as label from chatsync.claim(%s, %s, %s)",
        [QUEUE, worker_id, limit],
    ).fetchall()


def settle(
    connection: SyncConnection,
    claimed: list[Any],
    *,
    done: Iterable[int] | None = None,
    failed: list[dict[str, object]] | None = None,
    untouched: Iterable[int] = (),
) -> None:
    failed = failed or []
    ids = [row.id for row in claimed] if done is None else list(done)
    connection.execute(
        "select chatsync.settle(%s, %s, %s, %s)",
        [claimed[0].lease_id, ids, Jsonb(failed), list(untouched)],
    )


def labels(claimed: list[Any]) -> list[str]:
    return [row.label for row in claimed]


def count(connection: SyncConnection, table: str) -> int:
    row = connection.execute(f"select count(*) from chatsync.{table}".encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def test_messages_of_a_key_come_in_the_order_of_enqueueing(connections: Connections) -> None:
    connection, worker_id = register(connections)
    for number in range(10):
        enqueue(connection, "a", number)

    first = claim(connection, worker_id, limit=4)
    assert labels(first) == ["0", "1", "2", "3"]
    settle(connection, first)
    assert labels(claim(connection, worker_id)) == ["4", "5", "6", "7", "8", "9"]


def test_one_batch_of_a_key_is_in_flight(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    for number in range(4):
        enqueue(connection, "a", number)
    enqueue(connection, "b", "other key")

    first = claim(connection, worker_id, limit=2)
    assert labels(first) == ["0", "1"]
    assert labels(claim(other, other_id)) == ["other key"]
    settle(connection, first)
    assert labels(claim(other, other_id)) == ["2", "3"]


def test_messages_without_a_key_are_free(connections: Connections) -> None:
    connection, worker_id = register(connections)
    other, other_id = register(connections)
    for number in range(4):
        enqueue(connection, None, number)

    assert labels(claim(connection, worker_id, limit=2)) == ["0", "1"]
    assert labels(claim(other, other_id)) == ["2", "3"]


def test_a_higher_priority_is_claimed_first(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "low")
    enqueue(connection, "b", "high", p_priority=5)
    enqueue(connection, None, "low, no key")
    enqueue(connection, None, "high, no key", p_priority=5)

    assert labels(claim(connection, worker_id, limit=1)) == ["high"]
    claim(connection, worker_id, limit=1)
    assert labels(claim(connection, worker_id, limit=1)) == ["high, no key"]


def test_finished_work_leaves_the_table_and_its_lane(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)

    settle(connection, claim(connection, worker_id))

    assert count(owner, "message_queue") == 0
    assert count(owner, "queue_lanes") == 0
    assert count(owner, "lane_turns") == 0


def test_the_lane_of_an_inbox_stays_without_a_turn(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    row = connection.execute(
        "select chatsync.create_inbox('t1', 'whatsapp_cloud', '100')"
    ).fetchone()
    assert row is not None
    connection.execute(
        "select chatsync.enqueue_deliveries(%s, %s, %s)",
        [[row[0], row[0]], ["c1", "c2"], [b"one", b"two"]],
    )
    cursor = connection.execute("select * from chatsync.claim('inbound', %s, 10)", [worker_id])
    leased = cursor.fetchall()
    assert len(leased) == 2
    connection.execute(
        "select chatsync.settle(lease_id, array_agg(id)) from chatsync.message_queue"
        " group by lease_id"
    )

    assert count(owner, "queue_lanes") == 1
    assert count(owner, "lane_turns") == 0


def test_a_failing_head_blocks_its_key_until_it_is_due(connections: Connections) -> None:
    connection, worker_id = register(connections)
    for number in range(3):
        enqueue(connection, "a", number)

    first = claim(connection, worker_id)
    settle(
        connection,
        first,
        done=[],
        failed=[{"id": first[0].id, "error": "boom", "retryAfterSeconds": 60}],
        untouched=[first[1].id, first[2].id],
    )
    assert claim(connection, worker_id) == []

    connection.execute(
        "select set_config('chatsync.now', (clock_timestamp() + interval '61 s')::text, false)"
    )
    again = claim(connection, worker_id)
    assert labels(again) == ["0", "1", "2"]
    assert [row.retry_count for row in again] == [2, 1, 1]
    assert again[0].last_error == "boom"


def test_a_queue_that_skips_lets_others_pass_a_failing_head(
    connections: Connections, owner: SyncConnection
) -> None:
    owner.execute(
        "insert into chatsync.queue_policies (queue, when_head_fails) values (%s, 'skip')", [QUEUE]
    )
    connection, worker_id = register(connections)
    for number in range(2):
        enqueue(connection, "a", number)

    first = claim(connection, worker_id)
    settle(
        connection,
        first,
        done=[],
        failed=[{"id": first[0].id, "error": "boom", "retryAfterSeconds": 60}],
        untouched=[first[1].id],
    )
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_message_out_of_attempts_becomes_a_dead_letter(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "poison", p_max_retries=1, p_correlation_id="c-1")
    enqueue(connection, "a", "next")

    for _ in range(2):
        claimed = claim(connection, worker_id, limit=1)
        settle(
            connection,
            claimed,
            done=[],
            failed=[{"id": claimed[0].id, "error": "boom", "retryAfterSeconds": 0}],
        )

    row = owner.execute(
        "select correlation_id, error_message, failure_count, summary ->> 'label',"
        " convert_from(payload, 'UTF8')::jsonb ->> 'label' from chatsync.failed_messages"
    ).fetchall()
    assert row == [("c-1", "boom", 2, "poison", "poison")]
    assert labels(claim(connection, worker_id)) == ["next"]


def test_a_permanent_error_is_dead_lettered_at_once(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, None, 1)
    claimed = claim(connection, worker_id)

    settle(
        connection,
        claimed,
        done=[],
        failed=[{"id": claimed[0].id, "error": "no such number", "isPermanent": True}],
    )

    assert count(owner, "failed_messages") == 1
    assert count(owner, "message_queue") == 0


def test_backoff_without_a_wish_of_the_provider_is_bounded_by_the_policy(
    connections: Connections, owner: SyncConnection
) -> None:
    owner.execute(
        "insert into chatsync.queue_policies (queue, backoff_base_seconds, backoff_cap_seconds)"
        " values (%s, 1, 10)",
        [QUEUE],
    )
    connection, worker_id = register(connections)
    for _ in range(50):
        enqueue(connection, None, 1, p_max_retries=2_000_000)
    owner.execute("update chatsync.message_queue set retry_count = 1100000")
    claimed = claim(connection, worker_id)

    settle(connection, claimed, done=[], failed=[{"id": r.id, "error": "x"} for r in claimed])

    rows = owner.execute(
        "select count(distinct scheduled_at),"
        " max(scheduled_at) <= clock_timestamp() + interval '10 s' from chatsync.message_queue"
    ).fetchone()
    assert rows == (50, True)


def test_a_lost_lease_undoes_what_was_done_under_it(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    claimed = claim(connection, worker_id)
    owner.execute("select chatsync.release(%s)", [claimed[0].lease_id])

    with pytest.raises(psycopg.DatabaseError) as caught, connection.transaction():
        connection.execute("select chatsync.publish('t1', array['tenant:t1'], 'effect', '{}')")
        settle(connection, claimed)

    assert caught.value.sqlstate == "CS001"
    assert count(owner, "outbox") == 0
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_lease_cannot_be_settled_in_part(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, None, 1)
    enqueue(connection, None, 2)
    claimed = claim(connection, worker_id)

    with pytest.raises(psycopg.DatabaseError) as caught:
        settle(connection, claimed, done=[claimed[0].id])

    assert caught.value.sqlstate == "CS002"


def test_released_work_is_not_charged_an_attempt(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    claimed = claim(connection, worker_id)

    connection.execute("select chatsync.release(%s)", [claimed[0].lease_id])

    assert [row.retry_count for row in claim(connection, worker_id)] == [1]


def test_a_scheduled_message_joins_its_line_when_due(connections: Connections) -> None:
    connection, worker_id = register(connections)
    connection.execute("select set_config('chatsync.now', '2030-01-01 12:00:00Z', false)")
    enqueue(connection, "a", "later", p_scheduled_at="2030-01-01 12:00:10Z")
    enqueue(connection, "a", "now")

    first = claim(connection, worker_id)
    assert labels(first) == ["now"]
    settle(connection, first)
    assert claim(connection, worker_id) == []
    row = connection.execute("select chatsync.next_ready_at(%s)::text", [QUEUE]).fetchone()
    assert row is not None
    assert str(row[0]).startswith("2030-01-01 12:00:10")

    connection.execute("select set_config('chatsync.now', '2030-01-01 12:00:10Z', false)")
    assert labels(claim(connection, worker_id)) == ["later"]


def test_a_dedupe_key_queues_a_message_once(connections: Connections) -> None:
    connection, worker_id = register(connections)
    first = enqueue(connection, "a", 1, p_dedupe_key="d")

    assert enqueue(connection, "a", 2, p_dedupe_key="d") == first
    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_plain_insert_joins_its_lane(connections: Connections) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "first")
    connection.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, ordering_key, payload)"
        " values (%s, 't1', 'test', 'c', 'a', '{\"label\": \"inserted\"}')",
        [QUEUE],
    )

    assert labels(claim(connection, worker_id)) == ["first", "inserted"]


def test_enqueueing_outside_read_committed_is_refused(connections: Connections) -> None:
    connection, _ = register(connections)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ

    with pytest.raises(psycopg.DatabaseError) as caught, connection.transaction():
        enqueue(connection, "a", 1)

    assert caught.value.sqlstate == "CS003"


def test_the_work_of_a_dead_worker_is_taken_over_at_once_and_alone(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    doomed, doomed_id = register(connections)
    for number in range(3):
        enqueue(connection, "a", number)
    enqueue(connection, "b", "unharmed")
    assert len(claim(doomed, doomed_id, limit=3)) == 3

    doomed.close()
    assert _reap_until_freed(connection) == 3

    seen: list[list[str]] = []
    while claimed := claim(connection, worker_id):
        seen.append(labels(claimed))
        settle(connection, claimed)
    assert seen == [["0"], ["1"], ["2"], ["unharmed"]]


def test_a_silent_worker_is_taken_for_dead_when_its_lease_is_over(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    silent, silent_id = register(connections)
    enqueue(connection, None, 1)
    claimed = claim(silent, silent_id)
    assert connection.execute("select chatsync.reap()").fetchone() == (0,)
    owner.execute(
        "update chatsync.workers set lease_until = now() - interval '1 s' where worker_id = %s",
        [silent_id],
    )

    assert connection.execute("select chatsync.reap()").fetchone() == (1,)

    assert labels(claim(connection, worker_id)) == ["1"]
    assert silent.execute("select chatsync.heartbeat(%s)", [silent_id]).fetchone() == (False,)
    with pytest.raises(psycopg.DatabaseError, match="lost"):
        settle(silent, claimed)


def test_a_message_that_kills_twice_is_dead_lettered_and_takes_nobody_with_it(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", "killer")
    enqueue(connection, "a", "innocent")
    for _ in range(2):
        doomed, doomed_id = register(connections)
        claim(doomed, doomed_id)
        doomed.close()
        _reap_until_freed(connection)

    assert owner.execute("select summary ->> 'label' from chatsync.failed_messages").fetchall() == [
        ("killer",)
    ]
    assert labels(claim(connection, worker_id)) == ["innocent"]


def test_a_sweep_gives_a_turn_to_a_lane_that_lost_it(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    enqueue(connection, "a", 1)
    owner.execute("delete from chatsync.lane_turns")
    assert claim(connection, worker_id) == []

    assert connection.execute("select chatsync.sweep_lanes()").fetchone() == (1,)

    assert labels(claim(connection, worker_id)) == ["1"]


def test_a_sweep_removes_an_empty_lane_and_leaves_the_rest(
    connections: Connections, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    for key in ("kept", "claimed", "emptied"):
        enqueue(connection, key, key)
    owner.execute("delete from chatsync.message_queue where ordering_key = 'emptied'")
    claim(connection, worker_id, limit=1)

    assert connection.execute("select chatsync.sweep_lanes()").fetchone() == (1,)

    lanes = owner.execute("select ordering_key from chatsync.queue_lanes order by 1").fetchall()
    assert lanes == [("claimed",), ("kept",)]


def _reap_until_freed(connection: SyncConnection) -> int:
    # The backend of a closed connection drops its lock a moment after the socket is gone.
    for _ in range(500):
        row = connection.execute("select chatsync.reap(), pg_sleep(0.01)").fetchone()
        assert row is not None
        if isinstance(row[0], int) and row[0] > 0:
            return row[0]
    raise AssertionError("the dead worker's messages were never freed")

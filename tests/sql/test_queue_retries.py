"""What is not done at the first try: fences, backoff, dead letters."""

import psycopg
import pytest

from conftest import Connections, SyncConnection
from sql.queue_calls import QUEUE, claim, count, enqueue, labels, register, settle

pytestmark = pytest.mark.usefixtures("tenant")


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

    def apply_and_settle() -> None:
        with connection.transaction():
            connection.execute("select chatsync.publish('t1', array['tenant:t1'], 'effect', '{}')")
            settle(connection, claimed)

    with pytest.raises(psycopg.DatabaseError) as caught:
        apply_and_settle()

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


def test_a_retry_is_not_claimed_before_its_time_with_what_stands_before_it(
    connections: Connections,
) -> None:
    connection, worker_id = register(connections)
    for label in ("untouched", "failed", "behind"):
        enqueue(connection, "k", label)
    claimed = claim(connection, worker_id)
    settle(
        connection,
        claimed,
        done=[],
        failed=[{"id": claimed[1].id, "error": "x", "retryAfterSeconds": 60}],
        untouched=[claimed[0].id, claimed[2].id],
    )

    first = claim(connection, worker_id)
    assert labels(first) == ["untouched"]
    settle(connection, first)
    assert claim(connection, worker_id) == []

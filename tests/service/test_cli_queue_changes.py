"""`chatsync queue …` that changes the queue: what it asks, does and says, on a real database."""

import pytest

from conftest import Connections, SyncConnection
from service.command_line import Operator, dead_letters, fail_next
from sql.queue_calls import QUEUE, claim, count, enqueue, register, value


def test_retry_lets_a_waiting_message_run_now(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    enqueue(worker, "k", 1)
    failed = fail_next(connections, "away")
    said = operator("retry", failed)
    assert (said.code, said.out) == (0, f"{failed}: runs now\n")
    connection, worker_id = register(connections)
    assert [row.id for row in claim(connection, worker_id)] == [failed]


def test_one_message_that_cannot_be_retried_stops_none_of_the_others(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    enqueue(worker, "k", 1)
    failed = fail_next(connections, "away")
    held = enqueue(worker, "other", 2)
    connection, worker_id = register(connections)
    claim(connection, worker_id)

    said = operator("retry", held, failed + 1000, failed)
    assert said.code == 1
    assert said.out == f"{failed}: runs now\n"
    assert f"{held}: message {held} is in the hands of a worker" in said.err
    assert f"{failed + 1000}: is gone, or in line already" in said.err
    outcomes = operator("retry", failed + 1000, "--json").json
    assert outcomes == [{"id": failed + 1000, "refusal": "is gone, or in line already"}]


def test_cancel_keeps_the_reason_and_lets_the_next_one_run(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    ids = [enqueue(worker, "k", label) for label in range(2)]
    fail_next(connections, "away")
    (seen,) = operator("cancel", ids[0], "--reason", "no", "--dry-run", "--json").json
    assert (seen["id"], seen["status"]) == (ids[0], "retrying")
    assert operator("cancel", ids[0], "--reason", "no", answer="n\n").code == 130
    assert count(worker, "failed_messages") == 0

    said = operator("cancel", ids[0], "--reason", "the template is gone", "--yes")
    assert (said.code, said.out) == (0, f"{ids[0]}: is a dead letter now\n")
    assert value(worker, "select error_message from chatsync.failed_messages") == (
        "the template is gone"
    )
    connection, worker_id = register(connections)
    assert [row.id for row in claim(connection, worker_id)] == [ids[1]]


def test_cancel_needs_a_reason(operator: Operator) -> None:
    said = operator("cancel", 1, "--yes")
    assert said.code == 2
    assert "--reason" in said.err


@pytest.mark.parametrize(
    "arguments", [("redrive",), ("purge-dead",), ("purge", QUEUE)], ids=lambda value: value[0]
)
def test_what_could_take_everything_needs_a_filter(
    operator: Operator, connections: Connections, tenant: str, arguments: tuple[str, ...]
) -> None:
    assert tenant
    dead_letters(connections, "bad number")
    enqueue(connections.open("chatsync_worker"), None, 1)
    for more in ((), ("--yes",), ("--all", "--tenant", "t1", "--yes")):
        said = operator(*arguments, *more)
        assert said.code == 2, said
        assert "--all" in said.err
    worker = connections.open("chatsync_worker")
    assert (count(worker, "failed_messages"), count(worker, "message_queue")) == (1, 1)


def test_redrive_says_what_it_would_do_and_does_it(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    first, second, third = dead_letters(connections, "timed out", "bad number", "timed out")
    matching = ("redrive", "--queue", QUEUE, "--error", "timed%")
    assert operator(*matching, "--dry-run").out == "would redrive 2 dead letters\n"
    asked = operator(*matching, answer="n\n")
    assert (asked.code, asked.out) == (130, "")
    assert "redrive 2 dead letters? [y/N]" in asked.err
    assert count(worker, "message_queue") == 0

    some = operator(*matching, "--limit", 1, "--json", "--yes")
    redriven = some.json
    assert some.err == "", "it is done, and not on its way"
    assert [row["failed_id"] for row in redriven] == [first]
    assert value(worker, "select id from chatsync.message_queue") == redriven[0]["new_id"]
    assert operator(*matching, answer="y\n").out == "redrove 1 dead letters\n"
    rest = [row["id"] for row in operator("dead", "--json").json]
    assert rest == [second]
    assert third not in rest
    assert operator("redrive", "--id", first, "--yes").out == "redrove 0 dead letters\n"
    assert operator("redrive", "--id", first, "--id", second, "--yes", "--json").json == [
        {"failed_id": second, "new_id": value(worker, "select max(id) from chatsync.message_queue")}
    ]


def test_redrive_goes_in_chunks_and_tells_how_far_it_is(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    worker.execute(
        "insert into chatsync.failed_messages (queue, tenant_id, correlation_id, message_type,"
        " payload, summary, error_message)"
        " select 'outbound', 't1', 'c' || n, 'test', '{}', '{}', 'away'"
        " from generate_series(1, 2200) as n"
    )
    said = operator("redrive", "--all", "--yes")
    assert said.out == "redrove 2,200 dead letters\n"
    assert said.err.splitlines() == ["redrove 1,000 so far", "redrove 2,000 so far"]
    assert (count(worker, "failed_messages"), count(worker, "message_queue")) == (0, 2200)


def test_what_cannot_be_redriven_is_told_once(
    operator: Operator, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    worker.execute(
        "insert into chatsync.failed_messages (queue, tenant_id, correlation_id, message_type,"
        " payload, error_message)"
        " values ('inbound', 't1', 'c', 'item', '{}', 'no such kind')"
    )
    said = operator("redrive", "--queue", "inbound", "--yes")
    assert said.out == "redrove 0 dead letters\n"
    assert said.err == "1 dead letters stay: nobody can process them\n"


def test_move_takes_a_queue_to_another(
    operator: Operator, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    ids = [enqueue(worker, "k", label) for label in range(3)]
    assert operator("move", QUEUE, "later", "--dry-run").out == (
        "would move 3 messages from outbound to later\n"
    )
    assert operator("move", QUEUE, "later", answer="\n").code == 130
    assert operator("move", QUEUE, "later", "--yes", "--json").json == [{"count": 3}]
    assert [row["id"] for row in operator("peek", "later", "--json").json] == ids
    said = operator("move", "later", "later", "--yes")
    assert (said.code, said.err) == (2, "chatsync: the messages are in later already\n")


def test_purge_throws_away_what_waits_and_leaves_what_a_worker_has(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    held = enqueue(worker, "k", 1)
    connection, worker_id = register(connections)
    claim(connection, worker_id)
    enqueue(worker, "k", 2)
    enqueue(worker, None, 3)
    assert operator("purge", QUEUE, "--before", "1d", "--yes").out == (
        "purged 0 messages of outbound\n"
    )
    assert operator("purge", QUEUE, "--tenant", "t1", "--dry-run").out == (
        "would purge 2 messages of outbound\n"
    )
    assert operator("purge", QUEUE, "--all", answer="y\n").out == "purged 2 messages of outbound\n"
    assert [row[0] for row in worker.execute("select id from chatsync.message_queue")] == [held]


def test_purge_dead_throws_dead_letters_away(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    dead_letters(connections, "timed out", "bad number")
    assert operator("purge-dead", "--until", "30d", "--dry-run").out == (
        "would purge 0 dead letters\n"
    )
    assert operator("purge-dead", "--error", "bad%", "--yes").out == "purged 1 dead letters\n"
    assert operator("purge-dead", "--all", "--yes").out == "purged 1 dead letters\n"
    assert count(worker, "failed_messages") == 0

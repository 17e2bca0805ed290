"""`chatsync queue …` that looks, from its arguments to what it prints, on a real database."""

import os
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from conftest import Connections, SyncConnection
from service.command_line import Operator, dead_letters, fail_next
from sql.queue_calls import QUEUE, claim, enqueue, register


def test_status_tells_of_queues_and_workers(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    assert operator("status").out == "every queue is empty\n\nthere is no worker\n"
    for label in range(3):
        enqueue(worker, "k", label)
    connection, worker_id = register(connections)
    claim(connection, worker_id, 1)

    said = operator("status")
    assert said.code == 0, said
    head, depth = (line.split() for line in said.out.splitlines()[:2])
    shown = dict(zip(head, depth, strict=False))
    assert [shown[name] for name in ("QUEUE", "PENDING", "PROCESSING")] == [QUEUE, "2", "1"]
    told = operator("status", "--json").json
    assert told["queues"][0] | {"queue": QUEUE, "pending": 2, "processing": 1} == told["queues"][0]
    (one,) = told["workers"]
    assert (one["name"], one["is_alive"], one["messages"]) == ("test", True, 1)
    lease_until = datetime.fromisoformat(one["lease_until"])
    assert one["lease_until"].endswith("Z")
    assert abs(lease_until - datetime.now(UTC)) < timedelta(minutes=1)


def test_columns_stand_below_their_heads(
    operator: Operator, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    enqueue(worker, "a key that is longer than its head", 1)
    enqueue(worker, "k", 2)
    head, *lines = operator("peek", QUEUE).out.splitlines()
    begins = head.index("MESSAGE TYPE")
    assert [line[begins:].split()[0] for line in lines] == ["test", "test"]
    assert [line[begins - 1] for line in lines] == [" ", " "]


def test_blocked_names_the_head_and_its_error(
    operator: Operator, connections: Connections, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    assert operator("blocked").out == "nothing is blocked\n"
    ids = [enqueue(worker, "k", label) for label in range(3)]
    assert fail_next(connections, "the provider\nis \x1b[31maway") == ids[0]

    (head,) = operator("blocked", "--json").json
    assert (head["head_id"], head["waiting"], head["retry_count"]) == (ids[0], 3, 1)
    assert head["last_error"] == "the provider\nis \x1b[31maway"
    said = operator("blocked", "--queue", QUEUE, "--tenant", "t1").out
    assert "the provider is  [31maway" in said, "an error cannot steer the terminal"
    assert len(said.splitlines()) == 2
    assert operator("blocked", "--tenant", "t2").out == "nothing is blocked\n"


def test_peek_shows_what_comes_next_and_takes_nothing(
    operator: Operator, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    ids = [enqueue(worker, key, key) for key in ("a", "b", "a")]
    seen = operator("peek", QUEUE, "--key", "a", "--json").json
    assert [row["id"] for row in seen] == [ids[0], ids[2]]
    assert [row["status"] for row in seen] == ["pending", "pending"]
    assert len(operator("peek", QUEUE, "--limit", 2, "--json").json) == 2
    assert operator("peek", "nobody").out == "nothing waits in nobody\n"


def test_dead_filters_by_error_tenant_and_age(
    operator: Operator, connections: Connections, tenant: str
) -> None:
    assert tenant
    assert operator("dead").out == "there are no such dead letters\n"
    first, second = dead_letters(connections, "timed out after 5 s", "bad number")
    assert [row["id"] for row in operator("dead", "--json").json] == [second, first]
    (found,) = operator("dead", "--error", "%timed out%", "--since", "1h", "--json").json
    assert (found["id"], found["error_message"]) == (first, "timed out after 5 s")
    assert operator("dead", "--since", "2020-01-01", "--until", "2020-01-02", "--json").json == []
    assert operator("dead", "--tenant", "t2", "--json").json == []
    said = operator("dead", "--since", "yesterday")
    assert said.code == 2
    assert "'yesterday' is neither a time, as 2026-11-21T09:30Z, nor an age, as 2h" in said.err


def test_timeline_tells_of_one_webhook(
    operator: Operator, worker: SyncConnection, tenant: str
) -> None:
    assert tenant
    enqueue(worker, "k", 1, p_correlation_id="c-1")
    enqueue(worker, "k", 2, p_correlation_id="c-2")
    (entry,) = operator("timeline", "c-1", "--json").json
    assert entry["what"] == "enqueued"
    assert entry["at"].endswith("Z")
    assert entry["detail"]["orderingKey"] == "k"
    assert "orderingKey=k" in operator("timeline", "c-1").out
    assert operator("timeline", "c-1", "--since", "1h", "--json").json == [entry]
    assert operator("timeline", "c-3").out == "nothing is known of c-3\n"


def test_a_database_without_the_schema_is_named(
    operator: Operator, empty_database_url: str
) -> None:
    operator.url = empty_database_url
    said = operator("status")
    assert (said.code, said.err) == (3, "chatsync: run `chatsync migrate` first\n")


def test_a_database_that_is_away_is_one_sentence(operator: Operator, database_url: str) -> None:
    operator.url = make_conninfo(database_url, dbname="nowhere_at_all")
    said = operator("status")
    assert said.code == 2
    assert said.err.startswith("chatsync: cannot use the database: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("role", ["chatsync_operator", "chatsync_worker"])
def test_the_operators_role_is_taken_where_the_login_may_and_else_the_workers(
    operator: Operator, database_url: str, connections: Connections, tenant: str, role: str
) -> None:
    assert tenant
    enqueue(connections.open("chatsync_worker"), "k", 1)
    name = f"chatsync_login_{os.getpid()}_{role[-6:]}"
    login = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password 'secret'").format(login))
        try:
            admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), login))
            operator.url = make_conninfo(database_url, user=name, password="secret")
            assert operator("status", "--json").json["queues"][0]["pending"] == 1
            assert operator("purge", QUEUE, "--all", "--yes").out == (
                "purged 1 messages of outbound\n"
            )
        finally:
            admin.execute(sql.SQL("drop role {}").format(login))


def test_help_is_plain_sentences(operator: Operator) -> None:
    said = operator("--help").out
    for name in (
        "status", "blocked", "peek", "dead", "retry", "cancel", "move", "redrive", "purge",
        "purge-dead", "timeline", "watch",
    ):  # fmt: skip
        assert f"  {name} " in said
        assert operator(name, "-h").code == 0
    assert "..." not in said.partition("Commands:")[2], "a sentence is cut"

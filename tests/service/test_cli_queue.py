"""`chatsync queue …`, from its arguments to what it prints, on a real database."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chatsync.cli import main
from conftest import Connections, SyncConnection
from service.harness import PATIENCE_SECONDS, process, wait_for
from sql.queue_calls import QUEUE, claim, count, enqueue, register, settle, value

FOREVER = 100_000


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Operator:
    """Calls what `chatsync queue …` calls, in this process."""

    def __init__(
        self, url: str, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.url = url
        self._patch = patch
        self._capture = capture

    def __call__(self, *arguments: object, answer: str = "") -> Said:
        self._patch.setenv("CHATSYNC_DATABASE_URL", self.url)
        self._patch.setattr(sys, "argv", ["chatsync", "queue", *map(str, arguments)])
        self._patch.setattr(sys, "stdin", io.StringIO(answer))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = self._capture.readouterr()
        return Said(code, str(printed.out), str(printed.err))


@pytest.fixture
def operator(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    return Operator(database_url, monkeypatch, capsys)


@pytest.fixture
def tenant(worker: SyncConnection) -> str:
    worker.execute("select chatsync.create_tenant('t1')")
    return "t1"


def fail_next(
    connections: Connections, error: str, *, retry_after: float = FOREVER, permanent: bool = False
) -> int:
    """Claims the next message and settles it as failed; returns its id."""
    connection, worker_id = register(connections)
    (claimed,) = claim(connection, worker_id, 1)
    outcome = {"id": claimed.id, "error": error, "isPermanent": permanent}
    settle(connection, [claimed], done=[], failed=[{**outcome, "retryAfterSeconds": retry_after}])
    return int(claimed.id)


def dead_letters(connections: Connections, *errors: str) -> list[int]:
    """Makes a dead letter for each error; returns their ids."""
    worker = connections.open("chatsync_worker")
    for error in errors:
        enqueue(worker, None, error)
        fail_next(connections, error, permanent=True)
    rows = worker.execute("select id from chatsync.failed_messages order by id").fetchall()
    return [int(str(row[0])) for row in rows]


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
    assert head[:3] == ["QUEUE", "PENDING", "PROCESSING"]
    assert depth[:3] == [QUEUE, "2", "1"]
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


def test_watch_prints_a_line_a_look_with_rates_and_ends_on_ctrl_c(
    database_url: str, worker: SyncConnection, tenant: str, tmp_path: Path
) -> None:
    assert tenant
    log = tmp_path / "watch"

    def looks() -> list[Any]:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    watch = ("queue", "watch", "--json", "--interval", "0.05")
    with process(*watch, database_url=database_url, log=log) as watching:
        wait_for(looks, "the first look")
        worker.execute(
            "insert into chatsync.message_queue (queue, tenant_id, message_type, correlation_id)"
            " select 'outbound', 't1', 'test', 'c' from generate_series(1, 50)"
        )
        worker.execute("select pg_stat_force_next_flush()")
        worker.execute("select 1")

        def rates() -> list[Any]:
            return [look for look in looks() if look["enqueued_per_second"] > 0]

        first = wait_for(rates, "a look at what came")[0]
        watching.kill(signal.SIGINT)
        assert watching.wait() == 0
    assert first["gone_per_second"] == 0
    assert looks()[0]["queues"] == []
    assert looks()[-1]["queues"][0]["pending"] == 50
    assert any(look["queues"] and look["queues"][0]["change_per_second"] > 0 for look in looks())


def test_watch_draws_tables(operator: Operator, worker: SyncConnection, tenant: str) -> None:
    assert tenant
    enqueue(worker, "k", 1)
    said = operator("watch", "--count", 2, "--interval", 0.05)
    assert said.code == 0
    assert said.out.count("CHANGE PER SECOND") == 2
    assert "\x1b" not in said.out, "what is piped is drawn without moving a cursor"


def test_watch_draws_over_itself_in_a_terminal(database_url: str) -> None:
    outside, inside = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "chatsync", "queue", "watch", "--count", "2"],
            env={**os.environ, "CHATSYNC_DATABASE_URL": database_url},
            stdout=inside,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0
        drawn = os.read(outside, 65536).decode()
    finally:
        os.close(outside)
        os.close(inside)
    assert drawn.count("\x1b[H") == 2, "each look begins at the top"
    assert drawn.endswith("\x1b[J"), "what a longer look left is cleared"
    assert "every queue is empty" in drawn


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

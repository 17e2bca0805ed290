"""What doctor() says of a database that is well, and of one that is not."""

import secrets
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chatsync.cli.manage import doctor
from conftest import SyncConnection

LATER = "select set_config('chatsync.now', (now() + interval '1 hour')::text, false)"


def findings(connection: SyncConnection) -> dict[str, tuple[bool, str]]:
    rows = connection.execute('select "check", is_ok, detail from chatsync.doctor()').fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {str(name): (bool(is_ok), str(detail)) for name, is_ok, detail in rows}


@pytest.fixture
def login(database_url: str) -> Generator[SyncConnection]:
    """A login of its own that may call what a worker may, as an operator's does.

    It sees when its own transactions began, which PostgreSQL hides from roles of other names.
    """
    name, password = f"chatsync_login_{secrets.token_hex(4)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            sql.SQL("create role {} login inherit password {}").format(role, sql.Literal(password))
        )
        try:
            admin.execute(sql.SQL("grant chatsync_worker to {}").format(role))
            url = make_conninfo(database_url, user=name, password=password)
            with psycopg.connect(url, autocommit=True) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("drop role {}").format(role))


@contextmanager
def open_transaction(url: str, name: str) -> Generator[SyncConnection]:
    """A transaction with a snapshot that stays open."""
    with psycopg.connect(url, application_name=name) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1")
        yield connection


def test_a_new_database_is_well(worker: SyncConnection) -> None:
    found = findings(worker)
    # Servers of tests may do without fsync.
    assert {name for name, (is_ok, _) in found.items() if not is_ok} <= {"durable commits"}
    assert {"what pins vacuum", "long transactions", "autovacuum", "notifications"} <= found.keys()


@pytest.mark.parametrize("role", ["chatsync_worker", "chatsync_gateway", "chatsync_operator"])
def test_every_role_of_a_process_may_ask(database_url: str, role: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        assert findings(connection)["encoding"][0]


def test_whoever_pins_vacuum_is_named_even_to_a_role_that_may_not_look_into_sessions(
    worker: SyncConnection, database_url: str
) -> None:
    with open_transaction(database_url, "a forgotten report") as report:
        is_ok, detail = findings(worker)["what pins vacuum"]
        who = f"pid {report.info.backend_pid} (a forgotten report)"
        pins = worker.execute("select name from chatsync.vacuum_pins()").fetchall()
    assert is_ok, "a snapshot of a moment ago is no finding"
    assert f"session {who}" in detail
    assert (who,) in pins


def test_an_old_snapshot_is_a_finding(login: SyncConnection) -> None:
    url = make_conninfo(login.info.dsn, password=login.info.password)
    with open_transaction(url, "a forgotten report") as report:
        login.execute(LATER)
        found = findings(login)
        who = f"pid {report.info.backend_pid} (a forgotten report)"
    is_ok, detail = found["what pins vacuum"]
    assert not is_ok
    assert who in detail
    is_ok, detail = found["long transactions"]
    assert not is_ok
    assert f"{who}, idle in transaction, for " in detail


def test_a_transaction_that_wrote_pins_without_a_snapshot(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    with owner.transaction():
        owner.execute("select pg_current_xact_id()")
        pins = worker.execute("select name from chatsync.vacuum_pins()").fetchall()
    assert any(f"pid {owner.info.backend_pid}" in str(name) for (name,) in pins)


def test_a_prepared_transaction_that_nobody_finished_is_a_finding(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    if owner.execute("show max_prepared_transactions").fetchone() == ("0",):
        pytest.skip("this server prepares no transactions")
    owner.execute("begin")
    owner.execute("select pg_current_xact_id()")
    owner.execute("prepare transaction 'forgotten'")
    try:
        is_ok, detail = findings(worker)["what pins vacuum"]
        assert is_ok
        assert "prepared transaction forgotten" in detail
        worker.execute(LATER)
        assert not findings(worker)["what pins vacuum"][0]
    finally:
        owner.execute("rollback prepared 'forgotten'")


def test_sessions_that_cannot_be_looked_into_are_counted(
    worker: SyncConnection, database_url: str
) -> None:
    with psycopg.connect(database_url):
        detail = findings(worker)["long transactions"][1]
    assert "grant pg_read_all_stats to chatsync_worker" in detail


def test_a_table_that_is_not_vacuumed_is_a_finding(
    worker: SyncConnection, owner: SyncConnection, database_url: str
) -> None:
    # An old snapshot, so that an autovacuum which comes by finds nothing it may remove.
    with open_transaction(database_url, "a forgotten report"):
        for statement in (
            "alter table chatsync.queue_policies set (autovacuum_vacuum_threshold = 10)",
            "insert into chatsync.queue_policies (queue)"
            " select 'q' || n from generate_series(1, 500) as n",
            "delete from chatsync.queue_policies where queue <> 'q1'",
            "select pg_stat_force_next_flush()",
        ):
            owner.execute(statement)
        owner.execute("select 1")
        worker.execute(
            "select set_config('chatsync.now', (min(applied_at) + interval '1 min')::text, false)"
            " from chatsync.schema_ledger"
        )
        assert findings(worker)["autovacuum"][0], "autovacuum looks once a minute"
        worker.execute(LATER)
        is_ok, detail = findings(worker)["autovacuum"]
    assert not is_ok
    assert "queue_policies has 499 dead rows" in detail


def test_an_index_that_could_not_be_made_is_a_finding(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute("insert into chatsync.queue_policies (queue) values ('a'), ('b')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute(
            "create unique index concurrently policies_double_idx"
            " on chatsync.queue_policies (when_head_fails)"
        )
    assert findings(worker)["indexes are valid"] == (
        False,
        "policies_double_idx: drop and make anew",
    )


def test_the_command_prints_a_line_a_check_and_fails_with_one(
    monkeypatch: pytest.MonkeyPatch, database_url: str, owner: SyncConnection
) -> None:
    monkeypatch.setenv("CHATSYNC_DATABASE_URL", database_url)
    owner.execute("alter table chatsync.inboxes no force row level security")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "ok    schema: up to date" in result.output
    assert "ok    what pins vacuum: nothing" in result.output
    assert "FAIL  row-level security: forced on every table with a tenant" in result.output


def test_a_health_check_looks_at_the_setup_alone(
    monkeypatch: pytest.MonkeyPatch, database_url: str, worker: SyncConnection
) -> None:
    monkeypatch.setenv("CHATSYNC_DATABASE_URL", database_url)
    result = CliRunner().invoke(doctor, ["--setup"])
    assert "ok    days of the log" in result.output
    assert "what pins vacuum" not in result.output
    checks = {row[0] for row in worker.execute('select "check" from chatsync.check_setup()')}
    assert checks < findings(worker).keys()


def test_unused_indexes_are_told_and_are_no_finding(worker: SyncConnection) -> None:
    assert findings(worker)["indexes are used"] == (True, "too early to tell")
    worker.execute("select set_config('chatsync.now', (now() + interval '2 days')::text, false)")
    is_ok, detail = findings(worker)["indexes are used"]
    assert is_ok
    assert "message_queue_due_idx" in detail

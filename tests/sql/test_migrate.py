"""Applying sql/: once, in order, by any number of processes."""

import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chatsync import migrate as runner
from chatsync.errors import ConfigError, SchemaMismatch
from chatsync.migrate import SqlFile, files, migrate, pending
from conftest import SyncConnection, _create, _drop
from sql.queue_calls import value

Change = Callable[[SqlFile], SqlFile | None]


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[SqlFile]], None]:
    """Replaces the files that this code consists of."""

    def become(wanted: list[SqlFile]) -> None:
        monkeypatch.setattr(runner, "files", lambda: wanted)

    return become


@pytest.fixture
def another_empty_database_url(server_url: str) -> Generator[str]:
    name = f"chatsync_another_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _create(admin, name)
        yield make_conninfo(server_url, dbname=name)
        _drop(admin, name)


@pytest.fixture
def role_prefix(server_url: str) -> Generator[str]:
    """The beginning of the names of roles that are dropped after the test."""
    prefix = f"cs{os.getpid()}_"
    yield prefix
    with psycopg.connect(server_url, autocommit=True) as admin:
        for (name,) in admin.execute(
            "select rolname from pg_roles where starts_with(rolname, %s)", [prefix]
        ).fetchall():
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def at_once(tasks: list[Callable[[], list[str]]]) -> list[list[str]]:
    """Run all tasks from the same moment on."""
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], list[str]]) -> list[str]:
        start.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as threads:
        return list(threads.map(run, tasks))


def ledger(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        connection.execute("set role chatsync_owner")
        rows = connection.execute("select name from chatsync.schema_ledger order by applied_at")
        return [row[0] for row in rows]


def edited(file: SqlFile, name: str, addition: str) -> SqlFile:
    return replace(file, text=f"{file.text}\n{addition}") if file.name == name else file


def test_an_empty_database_gets_every_file_in_order_and_nothing_the_second_time(
    empty_database_url: str,
) -> None:
    names = [file.name for file in files()]
    assert pending(empty_database_url) == names

    assert migrate(empty_database_url) == names
    assert ledger(empty_database_url) == names
    assert pending(empty_database_url) == []
    assert migrate(empty_database_url) == []


def test_migrations_come_before_views_and_functions_and_are_numbered_without_holes() -> None:
    kinds = [file.kind for file in files()]
    migrations = [file.name for file in files() if file.kind == "migration"]

    assert kinds == sorted(kinds, key=["migration", "view", "function"].index)
    assert [name.split("/")[1][:4] for name in migrations] == [
        f"{number:04}" for number in range(1, len(migrations) + 1)
    ]


def test_only_the_files_that_make_roles_are_applied_as_the_login() -> None:
    as_login = [file.name for file in files() if file.has_header("as: login")]
    assert as_login == ["migrations/0001_roles.sql", "migrations/0009_operators.sql"]


def test_a_header_counts_in_the_first_lines_alone() -> None:
    assert SqlFile("x", "migration", "-- as: login\nselect 1").has_header("as: login")
    assert not SqlFile("x", "migration", "-- as: login please").has_header("as: login")
    assert not SqlFile("x", "migration", "select 1;\n" * 5 + "-- as: login").has_header("as: login")


def test_twenty_migrations_at_once_apply_each_file_once(empty_database_url: str) -> None:
    applied = at_once([lambda: migrate(empty_database_url)] * 20)

    assert sorted(map(len, applied)) == [0] * 19 + [len(files())]
    assert ledger(empty_database_url) == [file.name for file in files()]


def test_databases_of_one_cluster_migrate_at_the_same_moment(
    empty_database_url: str, another_empty_database_url: str
) -> None:
    applied = at_once(
        [
            lambda: migrate(empty_database_url),
            lambda: migrate(another_empty_database_url),
        ]
    )

    assert applied == [[file.name for file in files()]] * 2


def test_roles_that_another_transaction_is_making_are_waited_for_and_used(
    server_url: str, role_prefix: str
) -> None:
    # The cluster of the tests has chatsync's roles already: others go through the same statements.
    block = files()[0].text.partition("create schema")[0].replace("chatsync_", role_prefix).encode()

    def make_and_commit(connection: psycopg.Connection) -> None:
        connection.execute(block)
        connection.commit()

    with ThreadPoolExecutor(3) as threads, ExitStack() as stack:
        first, *others = (stack.enter_context(psycopg.connect(server_url)) for _ in range(4))
        observer = stack.enter_context(psycopg.connect(server_url, autocommit=True))
        first.execute(block)
        running = [threads.submit(make_and_commit, other) for other in others]
        while not _all_wait(observer, others):
            assert not any(other.done() for other in running)
        first.commit()
        for other in running:
            other.result()
        members = value(
            observer,
            "select count(*) from pg_roles where starts_with(rolname, %s)"
            " and pg_has_role(current_user, oid, 'member')",
            [role_prefix],
        )
    assert members == 3


def _all_wait(observer: SyncConnection, connections: list[SyncConnection]) -> bool:
    return value(
        observer,
        "select bool_and(cardinality(pg_blocking_pids(pid)) > 0) from unnest(%s::integer[]) as pid",
        [[connection.info.backend_pid for connection in connections]],
    )


def test_an_edited_migration_is_refused(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    migrate(empty_database_url)
    before = ledger(empty_database_url)
    code([edited(file, "migrations/0003_inbox.sql", "-- edited") for file in files()])

    with pytest.raises(SchemaMismatch, match=r"0003_inbox\.sql was edited"):
        migrate(empty_database_url)
    with pytest.raises(SchemaMismatch):
        pending(empty_database_url)
    assert ledger(empty_database_url) == before


def test_a_database_that_is_newer_than_the_code_is_refused(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    future = SqlFile("migrations/9999_future.sql", "migration", "create table chatsync.future ()")
    present = files()
    code([*present, future])
    assert migrate(empty_database_url)[-1] == future.name
    code(present)

    with pytest.raises(SchemaMismatch, match=r"newer than this chatsync: it has migrations/9999"):
        migrate(empty_database_url)


def test_a_function_file_is_applied_again_when_it_changed(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    migrate(empty_database_url)
    changed = "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
    changed += " returns boolean return false;"
    code([edited(file, "functions/access.sql", changed) for file in files()])

    assert pending(empty_database_url) == ["functions/access.sql"]
    assert migrate(empty_database_url) == ["functions/access.sql"]

    assert migrate(empty_database_url) == []
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("set role chatsync_gateway")
        assert value(connection, "select chatsync.can_subscribe('{}', '{}')") is False


def test_the_heads_of_logs_are_kept_when_they_get_a_table_of_their_own(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    present = files()
    code([file for file in present if file.name < "migrations/0020"])
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("set role chatsync_owner")
        connection.execute(
            "insert into chatsync.streams (tenant_id, head, trimmed_to) values"
            " ('t1', 7, 3), ('t2', 0, 0)"
        )
    code(present)
    migrate(empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        connection.execute("set role chatsync_owner")
        positions = connection.execute(
            "select tenant_id, head, trimmed_to"
            " from chatsync.stream_positions('{t1, t2}') order by 1"
        ).fetchall()
    assert positions == [("t1", 7, 3), ("t2", 0, 0)]


def test_a_failing_file_leaves_nothing_of_itself_and_all_before_it(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    present = files()
    broken = "create table chatsync.half_made (); select 1 / 0;"
    code([*present[:2], SqlFile("migrations/0003_broken.sql", "migration", broken), *present[2:]])

    with pytest.raises(ConfigError, match="division by zero"):
        migrate(empty_database_url)
    assert ledger(empty_database_url) == [file.name for file in present[:2]]

    code(present)
    assert migrate(empty_database_url) == [file.name for file in present[2:]]


def test_a_migration_may_ask_to_run_outside_of_a_transaction(
    empty_database_url: str, code: Callable[[list[SqlFile]], None]
) -> None:
    index = SqlFile(
        "migrations/9999_index.sql",
        "migration",
        "-- transaction: none\ncreate index concurrently on chatsync.messages (sender_id)",
    )
    code([*files(), index])

    assert migrate(empty_database_url)[-1] == index.name


def test_what_migrate_made_belongs_to_the_owner_and_not_to_the_login(
    empty_database_url: str,
) -> None:
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as login:
        owners = login.execute(
            "select distinct relowner::regrole::text from pg_class"
            " where relnamespace = 'chatsync'::regnamespace"
        ).fetchall()
    assert owners == [("chatsync_owner",)]


def test_a_database_that_cannot_be_reached_is_a_configuration_error(server_url: str) -> None:
    nowhere = make_conninfo(server_url, dbname="chatsync_does_not_exist")
    with pytest.raises(ConfigError, match="cannot migrate"):
        migrate(nowhere)
    with pytest.raises(ConfigError, match="cannot use the database"):
        pending(nowhere)

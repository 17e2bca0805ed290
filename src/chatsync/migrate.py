"""Applies sql/: migrations once each and in order, views and functions whenever they changed.

Any number of processes may call this at once. It must never edit an applied migration, nor run
against a schema that is newer than this code.
"""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from chatsync.errors import ConfigError, SchemaMismatch

LOCK_KEY = 0x63735F6D69677261  # "cs_migra"
LOCK_WAIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of sql/. The header comments `-- as: login` and `-- transaction: none` are obeyed."""

    name: str
    kind: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def has_header(self, header: str) -> bool:
        return any(line.strip() == f"-- {header}" for line in self.text.splitlines()[:5])


def sql_root() -> Path:
    """The folder sql/: inside an installed wheel, else at the root of the checkout."""
    inside = Path(__file__).parent / "sql"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "sql"


def files() -> list[SqlFile]:
    """All of sql/ in the order of application."""
    found = [
        SqlFile(f"{folder}/{path.name}", kind, path.read_text(encoding="utf-8"))
        for folder, kind in (
            ("migrations", "migration"),
            ("views", "view"),
            ("functions", "function"),
        )
        for path in sorted((sql_root() / folder).glob("*.sql"))
    ]
    if not found:
        raise ConfigError(f"no SQL files below {sql_root()}: the installation is broken")
    return found


def migrate(url: str) -> list[str]:
    """Bring the database up to this code and return the names of the files applied.

    Raises ConfigError when the database cannot be reached or refuses, SchemaMismatch when it is
    newer than this code or an applied migration was edited.
    """
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            _take_lock(connection)
            applied = _apply(connection, files())
            # A reader may be in the way: workers prepare the days, too, and try again.
            with suppress(psycopg.errors.LockNotAvailable):
                connection.execute("select chatsync.prepare_partitions()")
            return applied
    except psycopg.Error as error:
        raise ConfigError(f"cannot migrate: {' '.join(str(error).split())}") from error


def pending(url: str) -> list[str]:
    """The names of the files that `migrate` would apply; raises as `migrate` does."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            return [file.name for file in _outstanding(_ledger(connection), files())]
    except psycopg.Error as error:
        raise ConfigError(f"cannot use the database: {' '.join(str(error).split())}") from error


def _take_lock(connection: psycopg.Connection) -> None:
    # A session lock that is polled: waiting for it inside a statement would hold a snapshot, and
    # `create index concurrently` of the holder would wait for that snapshot for ever.
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while time.monotonic() < deadline:
        row = connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
        if row and row[0]:
            return
        time.sleep(0.1)
    raise ConfigError("another process has been migrating this database for two minutes")


def _ledger(connection: psycopg.Connection) -> dict[str, str]:
    # Not to_regclass(): the login has no right to look into the schema before it takes a role.
    row = connection.execute(
        "select exists (select from pg_namespace where nspname = 'chatsync')"
    ).fetchone()
    if not (row and row[0]):
        return {}
    _as_owner(connection)
    return dict(connection.execute("select name, checksum from chatsync.schema_ledger").fetchall())


def _outstanding(ledger: dict[str, str], wanted: list[SqlFile]) -> list[SqlFile]:
    known = {file.name for file in wanted if file.kind == "migration"}
    newer = sorted(name for name in ledger if name.startswith("migrations/") and name not in known)
    if newer:
        raise SchemaMismatch(f"the database is newer than this chatsync: it has {newer[-1]}")
    for file in wanted:
        if file.kind == "migration" and ledger.get(file.name, file.checksum) != file.checksum:
            raise SchemaMismatch(f"{file.name} was edited after it had been applied")
    return [file for file in wanted if ledger.get(file.name) != file.checksum]


def _apply(connection: psycopg.Connection, wanted: list[SqlFile]) -> list[str]:
    outstanding = _outstanding(_ledger(connection), wanted)
    # Functions call each other across files; tests call every one of them.
    connection.execute("set check_function_bodies = off")
    connection.execute("set lock_timeout = '10s'")
    connection.execute("set statement_timeout = '10min'")
    for file in outstanding:
        if file.has_header("transaction: none"):
            _run(connection, file)
        else:
            with connection.transaction():
                _run(connection, file)
    return [file.name for file in outstanding]


def _run(connection: psycopg.Connection, file: SqlFile) -> None:
    if file.has_header("as: login"):
        connection.execute("reset role")
    else:
        _as_owner(connection)
    # The text is a file of ours, not input; without parameters it may hold many statements.
    connection.execute(cast(LiteralString, file.text))
    _as_owner(connection)
    connection.execute(
        "insert into chatsync.schema_ledger (name, kind, checksum) values (%s, %s, %s)"
        " on conflict (name) do update"
        " set checksum = excluded.checksum, applied_at = clock_timestamp()",
        [file.name, file.kind, file.checksum],
    )


def _as_owner(connection: psycopg.Connection) -> None:
    connection.execute("set role chatsync_owner")

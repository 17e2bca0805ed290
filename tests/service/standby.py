"""A hot standby of a test's own PostgreSQL: a copy of its stopped cluster, which follows it."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.postgres.cluster import ROLES, locate, password_file
from service.harness import PATIENCE_SECONDS


class Standby:
    """Follows `primary`, and can be kept from it."""

    def __init__(self, primary: EmbeddedPostgres, server: EmbeddedPostgres, password: str) -> None:
        self._primary = primary
        self.server = server
        self._password = password

    @property
    def url(self) -> str:
        return self.server.url

    def pause(self) -> None:
        """Show nothing of what the primary does from now on."""
        self._as_superuser("select pg_wal_replay_pause()")

    def catch_up(self) -> None:
        """Return when it shows all that the primary has committed."""
        self._as_superuser("select pg_wal_replay_resume()")
        with psycopg.connect(self._primary.url) as connection:
            row = connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        for _ in range(int(PATIENCE_SECONDS / 0.01)):
            if self._as_superuser(
                "select pg_last_wal_replay_lsn() >= %s::pg_lsn or pg_sleep(0.01) is null", row[0]
            ):
                return
        raise AssertionError("the standby does not follow")

    def _as_superuser(self, query: str, *parameters: str) -> object:
        url = make_conninfo(self.url, user="postgres", password=self._password, dbname="postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
        return row and row[0]


@contextmanager
def following(primary: EmbeddedPostgres, data_dir: Path, folder: Path) -> Generator[Standby]:
    """A standby in `folder` of the server that was started in `data_dir`."""
    named = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
    bin_dir = Path(named) if named else None
    password = password_file(data_dir, "postgres").read_text(encoding="utf-8").strip()
    connection = conninfo_to_dict(primary.url)
    source = f"host={connection['host']} port={connection['port']} user=postgres"
    primary.stop()
    copy = locate(folder, bin_dir).folder
    subprocess.run(["cp", "-a", locate(data_dir, bin_dir).folder, copy], check=True)
    primary.start()
    for role in ROLES:
        shutil.copy(password_file(data_dir, role), password_file(folder, role))
    (copy / "standby.signal").touch()
    server = EmbeddedPostgres(
        folder, bin_dir=bin_dir, settings={"primary_conninfo": f"{source} password={password}"}
    )
    server.start()
    try:
        yield Standby(primary, server, password)
    finally:
        server.remove()

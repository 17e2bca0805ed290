"""Where systems are measured: one PostgreSQL with a database for each, and a Redis."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from side_by_side import postgres, redis
from side_by_side.processes import BenchmarkError

import chatsync
from chatsync.dev.postgres.cluster import ROLE, SUPERUSER, password_file
from queues.system import System

_SOURCES = Path(chatsync.__file__).resolve().parent.parent
PURGES = 5


class Place:
    """A PostgreSQL with its defaults, and a Redis where one is wanted."""

    def __init__(self, folder: Path, stack: ExitStack, *, has_redis: bool) -> None:
        self._data = folder / "data"
        self._server = postgres.started(folder, stack)
        self._redis = redis.started(folder, "everysec", stack) if has_redis else None
        self._made = 0

    @contextmanager
    def database(self, system: System) -> Generator[tuple[str, str]]:
        """A new database: its URL for the system, and that of who may look at everything in it."""
        self._made += 1
        name = f"queue_{self._made}"
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        if system.has_redis:
            assert self._redis is not None
            # A drain that met its limit left something for the next one to find.
            self._redis.ask("FLUSHALL")
        try:
            url = self._server.url.replace(f"/{ROLE}?", f"/{name}?")
            yield url, self._as_superuser(url)
        finally:
            with psycopg.connect(self._as_superuser(self._server.url), autocommit=True) as admin:
                admin.execute(f"drop database {name} with (force)".encode())

    def is_anything_left(self, system: System, connection: psycopg.Connection[object]) -> bool:
        if system.has_redis:
            assert self._redis is not None
            # The names of all keys: what waits, runs, or is delayed has one besides meta and id.
            return any("work:" in key and key.split(":")[-1].isdigit() for key in self._keys())
        row = connection.execute(system.left.encode()).fetchone()
        return bool(row and row[0])

    def purge(self, system: System, connection: psycopg.Connection[object]) -> None:
        if system.has_redis:
            return
        for _ in range(PURGES):
            # A worker that is just looking after its tables may be in the way.
            with suppress(psycopg.errors.DeadlockDetected):
                connection.execute(system.purge.encode())
                return
        raise BenchmarkError(f"{system.name} does not let its tables be emptied")

    def settle_down(self, connection: psycopg.Connection[object]) -> None:
        """Statistics as autovacuum would take them within a minute, and nothing left to write."""
        connection.execute(b"analyze")
        connection.execute(b"checkpoint")

    def roots(self, system: System) -> Mapping[str, int]:
        if system.has_redis:
            assert self._redis is not None
            return {"redis": self._redis.child.pid}
        return {"postgres": self._server.pid}

    def environment(self, system: System, url: str) -> Mapping[str, str]:
        # What is measured of chatsync is this checkout, whatever is installed.
        told = {"DATABASE_URL": url, "NODE_ENV": "production", "PYTHONPATH": str(_SOURCES)}
        told |= system.environment
        if self._redis is not None:
            told["REDIS_PATH"] = str(self._redis.path)
        return told

    def facts(self) -> Mapping[str, str]:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            told = dict(postgres.facts(connection))
        return told | dict(self._redis.facts() if self._redis else {})

    def _keys(self) -> list[str]:
        assert self._redis is not None
        return self._redis.ask("KEYS bull:work:*").splitlines()

    def _as_superuser(self, url: str) -> str:
        """Tables belong to roles without login, and row security hides what is in them."""
        ours, theirs = (
            f"{role}:{password_file(self._data, role).read_text(encoding='utf-8')}@"
            for role in (ROLE, SUPERUSER)
        )
        return make_conninfo(url.replace(ours, theirs))

"""Connections to PostgreSQL: pools that take a role, transactions that name their tenants.

Holds no SQL but calls of functions and
`set_config`; must never give a pooled connection to a listener.
"""

import select
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, LiteralString, TypeAlias

import psycopg
from psycopg import pq, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from chatsync.errors import ConfigError, DatabaseUnavailable
from chatsync.patience import CONNECT_SECONDS, parameters, patience
from chatsync.quick import QuickConnection
from chatsync.refusals import one_line, translated

Role: TypeAlias = Literal[
    "chatsync_gateway",
    "chatsync_worker",
    "chatsync_producer",
    "chatsync_operator",
    "chatsync_reader",
    "chatsync_owner",
]
Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
Row: TypeAlias = tuple[Any, ...]

# A link that breaks without a word is found by asking, which costs a round trip.
TRUSTED_SECONDS = 5.0
ALIVE_SECONDS = 2.0
# Above statement_timeout: the server would have said so.
PATIENCE_SECONDS = 35.0
# After a failure the pool waits twice as long each time, up to this; then whoever asks for a
# connection makes it try at once. Its own five minutes would outlast a database that is back.
RECONNECT_SECONDS = 1.0
# For a connection of a pool.
WAIT_SECONDS = 5.0
# What a backend has cached grows with the time.
MAX_LIFETIME_SECONDS = 1800.0


class _Pooled(QuickConnection):
    """A connection that knows when it last proved to be alive."""

    used_at: float


class Database:
    """A pool of connections in one role. `open` it once, `close` it at the end.

    Whoever has one for longer than `patience_seconds`, where that is given, finds it broken; nobody
    waits longer than `wait_seconds` for one.
    """

    def __init__(
        self,
        url: str,
        role: Role,
        *,
        size: int = 8,
        name: str = "chatsync",
        patience_seconds: float | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.url = url
        self.role: Role = role
        self._name = name
        self._patience_seconds = patience_seconds
        self._pool: AsyncConnectionPool[_Pooled] = AsyncConnectionPool(
            url,
            connection_class=_Pooled,
            min_size=1,
            max_size=size,
            open=False,
            timeout=wait_seconds,
            max_lifetime=MAX_LIFETIME_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=self._configure,
            check=_check,
            reset=_note_use,
            kwargs=parameters(url, autocommit=True, application_name=name),
        )

    async def open(self, *, must_answer: bool = True) -> None:
        """Connect. Raises ConfigError if it `must_answer` and does not."""
        try:
            if must_answer:
                await (await connect(self.url, self.role, name=self._name)).close()
        except psycopg.Error as error:
            raise ConfigError(f"cannot use the database: {one_line(error)}") from error
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(
        self, *, patience_seconds: float | None = None
    ) -> AsyncGenerator[QuickConnection]:
        """A pooled connection in autocommit. Raises DatabaseUnavailable when none answers."""
        try:
            async with self._pool.connection() as connection:
                with patience(connection, patience_seconds or self._patience_seconds):
                    yield connection
        except PoolTimeout as error:
            raise DatabaseUnavailable("the database does not answer") from error
        except psycopg.Error as error:
            raise translated(error) from error

    @asynccontextmanager
    async def transaction(
        self,
        tenants: Sequence[str] = (),
        *,
        is_snapshot: bool = False,
        patience_seconds: float | None = None,
    ) -> AsyncGenerator[Connection]:
        """A transaction about `tenants`, all that row-level security lets a gateway see.

        `is_snapshot` reads everything as of one moment (repeatable read, read only).
        """
        async with self.connection(patience_seconds=patience_seconds) as connection:
            if is_snapshot:
                await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
                await connection.set_read_only(True)
            try:
                async with connection.transaction():
                    if tenants:
                        await connection.execute(
                            "select set_config('chatsync.tenants', %s, true)", [",".join(tenants)]
                        )
                    yield connection
            finally:
                if is_snapshot and not connection.closed:
                    await connection.set_isolation_level(None)
                    await connection.set_read_only(None)

    async def fetch_value(
        self,
        query: LiteralString,
        parameters: Sequence[object] = (),
        *,
        patience_seconds: float | None = None,
    ) -> Any:
        """Run one statement in autocommit and return its first value, or None."""
        async with self.connection(patience_seconds=patience_seconds) as connection:
            return await _first_value(connection, query, parameters)

    def link(self, patience_seconds: float | None = None) -> "Link":
        """A connection that one task keeps, besides the pool."""
        return Link(self.url, self.role, self._name, patience_seconds)

    async def _configure(self, connection: _Pooled) -> None:
        await take_role(connection, self.role)
        await _note_use(connection)


class Link:
    """A connection of one task that asks often: it waits for nobody, and finds the server warm.

    Made when it is first used, and again when it broke or did not answer in time.
    """

    def __init__(self, url: str, role: Role, name: str, patience_seconds: float | None) -> None:
        self._url = url
        self._role: Role = role
        self._name = name
        self._patience_seconds = patience_seconds
        self._connection: QuickConnection | None = None
        self._made_at = self._used_at = 0.0

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[QuickConnection]:
        """The connection, in autocommit. Raises DatabaseUnavailable when the database is away."""
        try:
            connection = await self._live()
            with patience(connection, self._patience_seconds):
                yield connection
        except psycopg.Error as error:
            raise translated(error) from error
        finally:
            # Stopped in the middle of something: whoever comes next must not find its remains.
            if self._connection is not None and not _is_idle(self._connection):
                await self.close()
        self._used_at = time.monotonic()

    async def fetch_value(self, query: LiteralString, parameters: Sequence[object] = ()) -> Any:
        """Run one statement and return its first value, or None."""
        async with self.connection() as connection:
            return await _first_value(connection, query, parameters)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _live(self) -> QuickConnection:
        now = time.monotonic()
        if self._connection is not None:
            is_old = now - self._made_at > MAX_LIFETIME_SECONDS
            if is_old or not await _is_alive(self._connection, self._used_at):
                await self.close()
        if self._connection is None:
            self._connection = await connect(self._url, self._role, name=self._name)
            self._made_at = now
        return self._connection


async def connect(url: str, role: Role, *, name: str = "chatsync") -> QuickConnection:
    """A connection of its own in autocommit, for a listener, a ringer or a lease."""
    named = parameters(url, autocommit=True, application_name=name)
    connection = await QuickConnection.connect(url, **named)
    try:
        await take_role(connection, role)
    except BaseException:
        await connection.close()
        raise
    return connection


async def take_role(connection: Connection, role: Role) -> None:
    with patience(connection, CONNECT_SECONDS):
        await connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        await connection.execute(
            # Our own commits ring by themselves; a session that stops answering inside a
            # transaction must not hold its locks past a worker's lease.
            "select set_config('chatsync.doorbell', 'off', false),"
            " set_config('lock_timeout', '5s', false),"
            " set_config('statement_timeout', '30s', false),"
            " set_config('idle_in_transaction_session_timeout', '10s', false),"
            " set_config('search_path', 'chatsync', false)"
        )


async def _note_use(connection: _Pooled) -> None:
    connection.used_at = time.monotonic()


async def _check(connection: _Pooled) -> None:
    """Refuse a connection that the server has ended."""
    if not await _is_alive(connection, connection.used_at):
        raise psycopg.OperationalError("the connection does not answer")


async def _is_alive(connection: Connection, used_at: float) -> bool:
    """Whether it answers, without asking one that was just in use."""
    if connection.closed:
        return False
    if time.monotonic() - used_at < TRUSTED_SECONDS and not _has_news(connection):
        return True
    try:
        with patience(connection, ALIVE_SECONDS):
            await AsyncConnectionPool.check_connection(connection)
    except (psycopg.Error, OSError):
        return False
    return True


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == pq.TransactionStatus.IDLE


async def _first_value(
    connection: Connection, query: LiteralString, parameters: Sequence[object]
) -> Any:
    cursor = await connection.execute(query, parameters)
    row = await cursor.fetchone()
    return row[0] if row else None


def _has_news(connection: Connection) -> bool:
    """Whether there is something to read where nothing was asked, such as a server's farewell."""
    poll = select.poll()  # select.select refuses descriptors from 1024 on
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))

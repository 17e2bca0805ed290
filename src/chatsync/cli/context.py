"""What commands share: settings, the state of a local `chatsync dev`, one-off queries."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any, LiteralString, TypeAlias, TypeVar

import click
import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from chatsync import settings as settings_module
from chatsync.database import Connection, Database, connect
from chatsync.dev import state
from chatsync.errors import ConfigError, SchemaMismatch
from chatsync.migrate import pending
from chatsync.refusals import translated
from chatsync.settings import Settings
from chatsync.telemetry import logs

Rows: TypeAlias = list[dict[str, Any]]
T = TypeVar("T")

# No such schema, table, column or function.
MIGRATE_FIRST = "run `chatsync migrate` first"
NOT_MIGRATED = frozenset({"3F000", "42P01", "42703", "42883"})


def from_environment(**options: object) -> Settings:
    return settings_module.load(
        **{name: value for name, value in options.items() if value is not None}
    )


def settings_here(**options: object) -> Settings:
    """The environment's settings, completed by what a `chatsync dev` of this checkout kept."""
    settings = from_environment(**options)
    kept = state.load(settings.data_dir) if settings.database_url is None else None
    if kept is None:
        return settings
    host, _, port = kept.address.removeprefix("http://").rpartition(":")
    return settings.model_copy(
        update={
            "database_url": SecretStr(kept.database_url),
            "jwt_secret": settings.jwt_secret or SecretStr(kept.jwt_secret),
            "host": options.get("host") or host.strip("[]"),
            "port": options.get("port") or int(port),
        }
    )


def prepare(settings: Settings) -> None:
    logs.configure(log_format=settings.log_format, log_level=settings.log_level)
    # uvicorn raises the signal once more when it has shut down: end well, not by the signal.
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGHUP, _terminate)


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # A closed terminal ends what ran in it, in the same way as SIGTERM.
    signal.raise_signal(signal.SIGTERM)


def require_migrated(settings: Settings) -> None:
    if waiting := pending(settings.require_database_url()):
        raise SchemaMismatch(f"run `chatsync migrate` first: {len(waiting)} files to apply")


def query(url: str, text: LiteralString, parameters: list[Any] | None = None) -> list[Any]:
    """Call one function in the worker's role. Raises ConfigError with the database's sentence."""

    async def call() -> list[Any]:
        database = Database(url, "chatsync_worker", size=2, name="chatsync cli")
        await database.open()
        try:
            async with database.connection() as connection:
                return await (await connection.execute(text, parameters or [])).fetchall()
        finally:
            await database.close()

    try:
        return asyncio.run(call())
    except psycopg.Error as error:
        raise ConfigError(error.diag.message_primary or str(error)) from error


def operate(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` on a connection in the operator's role, and return what it returns.

    Raises ConfigError with the database's sentence, DatabaseUnavailable when a later try may help.
    """

    async def run() -> T:
        connection = await _connect_operator(settings_here().require_database_url())
        said: set[str | None] = set()

        def tell(notice: psycopg.errors.Diagnostic) -> None:
            # A function that is called in chunks says the same with each.
            if notice.message_primary not in said:
                said.add(notice.message_primary)
                click.echo(notice.message_primary, err=True)

        connection.add_notice_handler(tell)
        try:
            return await work(connection)
        except psycopg.Error as error:
            raise _told(error) from error
        finally:
            await connection.close()

    return asyncio.run(run())


async def ask(
    connection: Connection, text: LiteralString, parameters: Sequence[Any] | dict[str, Any] = ()
) -> Rows:
    """Call one function, or read one view. Returns its rows, each by the names of its columns."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(text, parameters)).fetchall()


async def _connect_operator(url: str) -> Connection:
    """A connection in the operator's role; in the worker's where the login may not take that."""
    try:
        try:
            return await connect(url, "chatsync_operator", name="chatsync cli")
        except psycopg.errors.InsufficientPrivilege:
            return await connect(url, "chatsync_worker", name="chatsync cli")
    except psycopg.errors.InvalidParameterValue as error:
        # There is no such role, hence no schema either, or an older one.
        raise SchemaMismatch(MIGRATE_FIRST) from error
    except psycopg.Error as error:
        raise ConfigError(f"cannot use the database: {' '.join(str(error).split())}") from error


def _told(error: psycopg.Error) -> Exception:
    if error.sqlstate in NOT_MIGRATED:
        return SchemaMismatch(MIGRATE_FIRST)
    known = translated(error)
    if known is not error:
        return known
    return ConfigError(error.diag.message_primary or str(error))

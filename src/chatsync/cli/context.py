"""What commands share: settings, the state of a local `chatsync dev`, one-off queries."""

import asyncio
import signal
import sys
from types import FrameType
from typing import Any, LiteralString

import psycopg
from pydantic import SecretStr

from chatsync import settings as settings_module
from chatsync.database import Database
from chatsync.dev import state
from chatsync.errors import ConfigError, SchemaMismatch
from chatsync.migrate import pending
from chatsync.settings import Settings
from chatsync.telemetry import logs


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

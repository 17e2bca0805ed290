"""PostgreSQL for a side: the embedded one with its defaults, and how a figure reads from it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import psycopg

from chatsync.dev.embedded import EmbeddedPostgres

Connection: TypeAlias = psycopg.Connection[tuple[int]]

_TOLD = ("fsync", "synchronous_commit", "full_page_writes")


def started(folder: Path, stack: ExitStack) -> EmbeddedPostgres:
    """Start a server on an empty cluster; the stack stops it and removes its data."""
    server = EmbeddedPostgres(folder / "data")
    stack.callback(server.remove)
    server.start()
    return server


def connected(url: str, stack: ExitStack) -> Connection:
    """A connection that commits each statement."""
    return stack.enter_context(psycopg.connect(url, autocommit=True))


def number(connection: Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def facts(connection: Connection) -> Mapping[str, str]:
    """The server's version and what it says about its durability."""
    info = connection.info
    told = {"PostgreSQL": info.parameter_status("server_version") or "unknown"}
    for name in _TOLD:
        row = connection.execute(b"select current_setting(%s)", [name]).fetchone()
        assert row is not None
        told[f"PostgreSQL {name}"] = str(row[0])
    return told

"""Ends the wait for a PostgreSQL that is gone without a word: links that stay open, half of them.

Without it a query on such a link waits until the kernel gives up, a quarter of an hour or for ever.
"""

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

CONNECT_SECONDS = 5
# A machine that is gone acknowledges nothing: the kernel finds out within half a minute, whatever
# is waited for. Unix sockets know none of it.
KERNEL = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def parameters(url: str, **more: object) -> dict[str, Any]:
    """How to connect, where the URL does not say otherwise."""
    given = conninfo_to_dict(url)
    ours = {"connect_timeout": CONNECT_SECONDS, **KERNEL}
    return {name: value for name, value in ours.items() if name not in given} | more


@contextmanager
def patience(connection: "psycopg.AsyncConnection[Any]", seconds: float | None) -> Generator[None]:
    """Break the link if the body takes longer: what waits on it raises psycopg.OperationalError."""
    if seconds is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(seconds, shut_down, connection)
    try:
        yield
    finally:
        timer.cancel()


def shut_down(connection: "psycopg.AsyncConnection[Any]") -> None:
    """End whatever waits on a link, at once; cancelling would wait for an answer first."""
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)

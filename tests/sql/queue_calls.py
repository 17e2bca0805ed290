"""The queue's functions as a worker calls them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection

QUEUE = "outbound"


def enqueue(connection: SyncConnection, key: str | None, label: object, **named: object) -> int:
    """Enqueue for t1; `named` are further parameters of chatsync.enqueue()."""
    arguments = {"p_ordering_key": key, **named}
    row = connection.execute(
        sql.SQL("select chatsync.enqueue(%(queue)s, 't1', 'test', %(payload)s, {})").format(
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name))
                for name in arguments
            )
        ),
        {"queue": QUEUE, "payload": Jsonb({"label": label}), **arguments},
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def register(connections: Connections) -> tuple[SyncConnection, int]:
    connection = connections.open("chatsync_worker")
    row = connection.execute("select chatsync.register_worker('test')").fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return connection, row[0]


def claim(connection: SyncConnection, worker_id: int, limit: int = 100) -> list[Any]:
    cursor = connection.cursor(row_factory=namedtuple_row)
    return cursor.execute(
        "select *, payload ->> 'label' as label from chatsync.claim(%s, %s, %s)",
        [QUEUE, worker_id, limit],
    ).fetchall()


def settle(
    connection: SyncConnection,
    claimed: list[Any],
    *,
    done: Iterable[int] | None = None,
    failed: Sequence[Mapping[str, object]] | None = None,
    untouched: Iterable[int] = (),
) -> None:
    ids = [row.id for row in claimed] if done is None else list(done)
    connection.execute(
        "select chatsync.settle(%s, %s, %s, %s)",
        [claimed[0].lease_id, ids, Jsonb(list(failed or [])), list(untouched)],
    )


def reap_until_freed(connection: SyncConnection) -> int:
    # The backend of a closed connection drops its lock a moment after the socket is gone.
    for _ in range(500):
        row = connection.execute("select chatsync.reap(), pg_sleep(0.01)").fetchone()
        assert row is not None
        if isinstance(row[0], int) and row[0] > 0:
            return row[0]
    raise AssertionError("the dead worker's messages were never freed")


def labels(claimed: list[Any]) -> list[str]:
    return [row.label for row in claimed]


def count(connection: SyncConnection, table: str) -> int:
    return value(
        connection, sql.SQL("select count(*) from {}").format(sql.Identifier("chatsync", table))
    )


def value(
    connection: SyncConnection,
    query: LiteralString | sql.Composed,
    parameters: Sequence[object] = (),
) -> Any:
    """The first column of the first row."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]

"""Sets of names, read from the catalog."""

from typing import LiteralString

from conftest import SyncConnection


def names(connection: SyncConnection, query: LiteralString) -> set[object]:
    rows = connection.execute(query).fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0] for row in rows}

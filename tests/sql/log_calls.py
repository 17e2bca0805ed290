"""The log's functions as writers, stampers and readers call them."""

from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from conftest import SyncConnection
from sql.queue_calls import value


class Numbered(NamedTuple):
    """An event as read_events() returns it; `label` is the one that it was published with."""

    tenant: str
    seq: int
    label: Any


def publish(connection: SyncConnection, tenant: str, label: object) -> None:
    connection.execute(
        "select chatsync.publish(%s, %s, 'test', %s)",
        [tenant, [f"tenant:{tenant}"], Jsonb({"label": label})],
    )


def stamp(connection: SyncConnection, limit: int = 1000) -> dict[str, int] | None:
    return value(connection, "select chatsync.stamp(%s)", [limit])


def read(connection: SyncConnection, after: dict[str, int], limit: int = 1000) -> list[Numbered]:
    """What follows the given position of each tenant."""
    rows = connection.execute(
        "select tenant_id, seq, data::jsonb -> 'label' from chatsync.read_events(%s, %s, %s)",
        [list(after), list(after.values()), limit],
    )
    return [Numbered(*row) for row in rows]  # pyright: ignore[reportArgumentType]


def epochs(connection: SyncConnection) -> dict[str, str]:
    rows = connection.execute("select tenant_id, epoch from chatsync.streams")
    return {str(tenant): str(epoch) for tenant, epoch in rows}

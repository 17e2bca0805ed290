"""apply_inbound() as the worker calls it, and what it left."""

from typing import Any, LiteralString, TypeAlias

from psycopg.types.json import Jsonb

from conftest import SyncConnection
from sql.queue_calls import value

Json: TypeAlias = dict[str, Any]

APPLY: LiteralString = "select chatsync.apply_inbound(%s, %s)"
TABLES = (
    "contacts",
    "contact_identities",
    "conversations",
    "messages",
    "message_provider_ids",
    "orphans",
    "processed_items",
    "inboxes",
    "inbox_notices",
    "outbox",
)


def create_inbox(connection: SyncConnection, number: str = "100", tenant: str = "t1") -> int:
    return value(
        connection, "select chatsync.create_inbox(%s, 'whatsapp_cloud', %s)", [tenant, number]
    )


def person(key: int = 0, *identities: str, name: str | None = "Ann", **more: object) -> Json:
    """A contact as the functions take it, named by itself; an identity reads `kind:value`."""
    named = [identity.split(":") for identity in identities or (f"phone:{key}",)]
    return {
        "key": key,
        "tenantId": "t1",
        "name": name,
        "isRenamed": True,
        "namedAt": "2026-01-01T12:00:00Z",
        "identities": [{"scope": "tenant", "kind": kind, "value": text} for kind, text in named],
        **more,
    }


def message(inbox_id: int, provider_id: str, **more: object) -> Json:
    return {
        "tenant_id": "t1",
        "inbox_id": inbox_id,
        "correlation_id": f"c-{provider_id}",
        "kind": "message",
        "provider_message_id": provider_id,
        "occurred_at": "2026-01-01T12:00:00Z",
        "contact_key": 0,
        "direction": "INBOUND",
        "type": "TEXT",
        "content": provider_id,
        "metadata": {},
        "origin": "live",
        **more,
    }


def echo(inbox_id: int, provider_id: str, **more: object) -> Json:
    """A message of the business that was not sent through chatsync."""
    return message(inbox_id, provider_id, direction="OUTBOUND", origin="echo", **more)


def status(inbox_id: int, provider_id: str, status: str, error: Json | None = None) -> Json:
    return {
        "tenant_id": "t1",
        "inbox_id": inbox_id,
        "correlation_id": f"c-{status}",
        "kind": "status",
        "provider_message_id": provider_id,
        "occurred_at": "2026-01-01T12:00:01Z",
        "status": status,
        "error": error,
    }


def arguments(items: list[Json], people: list[Json] | None = None) -> list[Jsonb]:
    """What APPLY takes; without people everyone is contact 0."""
    numbered = [{**item, "position": position} for position, item in enumerate(items)]
    return [Jsonb([person()] if people is None else people), Jsonb(numbered)]


def apply(connection: SyncConnection, *items: Json, people: list[Json] | None = None) -> None:
    connection.execute(APPLY, arguments(list(items), people))


def everything(owner: SyncConnection) -> dict[str, list[Any]]:
    """All rows that apply_inbound() may write."""
    return {
        table: owner.execute(
            f"select t::text from chatsync.{table} as t order by 1".encode()
        ).fetchall()
        for table in TABLES
    }


def events(owner: SyncConnection) -> list[tuple[str, Json]]:
    """Type and data of what was published, in order."""
    rows = owner.execute("select type, data from chatsync.outbox order by id").fetchall()
    return [(str(kind), data) for kind, data in rows if isinstance(data, dict)]

"""Deliveries of the Cloud API as tests write them: an item, or a value, in its envelope."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from chatsync.providers.inbound import Identity, Item, Source
from chatsync.providers.whatsapp_cloud import parse

ItemT = TypeVar("ItemT")

INBOX_ID = 7
RECEIVED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCE = Source(INBOX_ID, None, RECEIVED_AT)
BUSINESS = "551133330000"
ALICE = {"wa_id": "5511990000001", "profile": {"name": "Alice"}}
PHONE = Identity("tenant", "phone", "5511990000001")
AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def without_gaps(said: dict[str, Any]) -> dict[str, Any]:
    """An object without the keys whose value is `...`: how tests take a key away."""
    return {name: value for name, value in said.items() if value is not ...}


def message(kind: object = "text", **changes: object) -> dict[str, Any]:
    """A message of Alice's, in words unless its type is another."""
    said: dict[str, Any] = {
        "id": "wamid.1",
        "from": "5511990000001",
        "timestamp": "1700000000",
        "type": kind,
    }
    if kind == "text":
        said["text"] = {"body": "olá"}
    return without_gaps(said | changes)


def delivery(*changes: object, account: object = "waba", **entry: object) -> dict[str, Any]:
    return {"entry": [{"id": account, "changes": list(changes), **entry}]}


def change(field: str = "messages", **value: Any) -> dict[str, Any]:
    metadata = {"phone_number_id": "1", "display_phone_number": "+55 11 3333-0000"}
    return {"field": field, "value": {"metadata": metadata, **value}}


def items(field: str = "messages", **value: Any) -> list[Item]:
    """What is found in a value with these lists."""
    return parse(delivery(change(field, **value)), SOURCE)


def only(kind: type[ItemT], found: list[Item]) -> ItemT:
    """The single item found, of the kind it has to be."""
    (item,) = found
    assert isinstance(item, kind), item
    return item

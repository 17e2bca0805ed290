"""The handlers of chatsync's own queues. Inbound: deliveries become what agents see."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from chatsync.database import Connection
from chatsync.errors import Permanent
from chatsync.inbox.commands import apply_inbound, apply_one_by_one
from chatsync.inbox.documents import InboundItem
from chatsync.providers import evolution, standard, whatsapp_cloud
from chatsync.providers.body import BodyError, JsonObject, parse_json
from chatsync.providers.inbound import Item, Source
from chatsync.queue.message import QueueMessage

_Parse: TypeAlias = Callable[[JsonObject, Source], list[Item]]

_PARSERS: Mapping[str, _Parse] = {
    whatsapp_cloud.NAME: whatsapp_cloud.parse,
    evolution.NAME: evolution.parse,
    standard.NAME: standard.parse,
}


async def handle_inbound(
    connection: Connection, messages: Sequence[QueueMessage], *, carefully: bool
) -> None:
    """Parse deliveries and apply their items, in order. Raises Permanent for an unreadable one.

    All or nothing, or `carefully`, after that failed: a bad item is put aside alone.
    """
    items = [item for message in messages for item in _parse(message)]
    if carefully:
        await apply_one_by_one(connection, items)
    else:
        await apply_inbound(connection, items)


def _parse(message: QueueMessage) -> list[InboundItem]:
    parse = _PARSERS.get(message.message_type)
    if message.inbox_id is None or parse is None:
        raise Permanent(f"nobody parses deliveries of {message.message_type}")
    try:
        delivery = parse_json(message.body or b"")
    except BodyError as error:
        raise Permanent(str(error)) from error
    if "event" in message.metadata and not delivery.get("event"):
        # The address named what the body does not.
        delivery["event"] = message.metadata["event"]
    source = Source(message.inbox_id, message.metadata.get("account_id"), message.created_at)
    return [
        InboundItem(message.tenant_id, message.inbox_id, message.correlation_id, item)
        for item in parse(delivery, source)
    ]

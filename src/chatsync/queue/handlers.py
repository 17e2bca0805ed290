"""The handlers of chatsync's own queues. Inbound: deliveries become what agents see."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from chatsync.database import Connection
from chatsync.errors import Permanent
from chatsync.events.stamped import Stamped
from chatsync.inbox.commands import Prepared, apply_one_by_one, prepare
from chatsync.inbox.documents import InboundItem
from chatsync.providers import evolution, standard, whatsapp_cloud
from chatsync.providers.body import BodyError, JsonObject, parse_json
from chatsync.providers.inbound import Item, Source
from chatsync.queue.handler import Applied, Settlement
from chatsync.queue.message import QueueMessage

_Parse: TypeAlias = Callable[[JsonObject, Source], list[Item]]

_PARSERS: Mapping[str, _Parse] = {
    whatsapp_cloud.NAME: whatsapp_cloud.parse,
    evolution.NAME: evolution.parse,
    standard.NAME: standard.parse,
}


class InboundHandler:
    """Parses deliveries and applies their items, in order."""

    # To parse takes as long as to apply, and most of a batch is often one inbox's, in one lane.
    batches = 2
    part = 250

    def prepare(self, messages: Sequence[QueueMessage]) -> Prepared:
        """Parse and describe. Raises Permanent for an unreadable delivery."""
        return prepare([item for message in messages for item in _parse(message)])

    async def apply_and_settle(
        self, connection: Connection, prepared: Prepared, settlement: Settlement
    ) -> Applied:
        cursor = await connection.execute(
            "call chatsync.process_deliveries(%s, %s, %s, %s, %s, %s, %s)",
            [
                prepared.contacts,
                prepared.documents,
                prepared.rejected,
                settlement.lease_id,
                settlement.done,
                settlement.is_part,
                settlement.by,
            ],
        )
        row = await cursor.fetchone()
        assert row is not None
        has_more, tenants, is_left = row
        return Applied(has_more, Stamped(frozenset(tenants or ()), is_left))

    async def apply_carefully(self, connection: Connection, prepared: Prepared) -> None:
        """Apply what can be applied; a bad item is put aside alone."""
        await apply_one_by_one(connection, prepared)


def _parse(message: QueueMessage) -> list[InboundItem]:
    parse = _PARSERS.get(message.message_type)
    if message.inbox_id is None or parse is None:
        raise Permanent(f"nobody parses deliveries of {message.message_type}")
    try:
        delivery = parse_json(message.body or b"")
    except BodyError as error:
        raise Permanent(str(error)) from error
    metadata = message.metadata or {}
    if "event" in metadata and not delivery.get("event"):
        # The address named what the body does not.
        delivery["event"] = metadata["event"]
    source = Source(message.inbox_id, metadata.get("account_id"), message.created_at)
    return [
        InboundItem(message.tenant_id, message.inbox_id, message.correlation_id, item)
        for item in parse(delivery, source)
    ]

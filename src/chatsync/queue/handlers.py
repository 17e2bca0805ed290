"""The handlers of chatsync's own queues. Inbound: deliveries become what agents see."""

from collections.abc import Sequence

from chatsync.database import Connection
from chatsync.errors import Permanent
from chatsync.inbox.commands import InboundItem, apply_inbound
from chatsync.providers import whatsapp_cloud
from chatsync.providers.body import BodyError, parse_json
from chatsync.queue.message import QueueMessage


async def handle_inbound(connection: Connection, messages: Sequence[QueueMessage]) -> None:
    """Parse deliveries and apply their items, in order. Raises Permanent for an unreadable one."""
    await apply_inbound(connection, [item for message in messages for item in _parse(message)])


def _parse(message: QueueMessage) -> list[InboundItem]:
    if message.inbox_id is None or message.message_type != whatsapp_cloud.NAME:
        raise Permanent(f"nobody parses deliveries of {message.message_type}")
    try:
        delivery = parse_json(message.body or b"")
    except BodyError as error:
        raise Permanent(str(error)) from error
    items = whatsapp_cloud.parse(delivery, account_id=None)
    return [
        InboundItem(message.tenant_id, message.inbox_id, message.correlation_id, item)
        for item in items
    ]

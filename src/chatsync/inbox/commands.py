"""The write side: what providers sent becomes rows and events, in the caller's transaction."""

from collections.abc import Sequence

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Connection, is_transient
from chatsync.inbox.documents import InboundItem, fold
from chatsync.providers.inbound import Ignored, Malformed

log = structlog.stdlib.get_logger(__name__)


async def apply_inbound(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply items in order, all or nothing. Inside a pipeline the error may come later.

    Raises psycopg.Error when one of them cannot be applied: apply_one_by_one() finds out which.
    """
    for entry in items:
        if isinstance(entry.item, Malformed):
            await _reject(connection, entry, entry.item.item, entry.item.reason)
    await _apply(connection, _meaningful(items))


async def apply_one_by_one(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply items in order; one that cannot be applied is dead-lettered alone.

    Raises psycopg.Error only for what a later try may not meet.
    """
    for entry in items:
        if isinstance(entry.item, Malformed):
            await _reject(connection, entry, entry.item.item, entry.item.reason)
    await _apply_in_halves(connection, _meaningful(items))


def _meaningful(items: Sequence[InboundItem]) -> list[InboundItem]:
    return [entry for entry in items if not isinstance(entry.item, Malformed | Ignored)]


async def _apply(connection: Connection, items: Sequence[InboundItem]) -> None:
    if items:
        folded = fold(items)
        await connection.execute(
            "select chatsync.apply_inbound(%s, %s)", [Jsonb(folded.contacts), Jsonb(folded.items)]
        )


async def _apply_in_halves(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply all at once, or in halves where that fails: a bad item costs log2(n) tries."""
    try:
        async with connection.transaction():
            await _apply(connection, items)
    except psycopg.Error as error:
        if is_transient(error):
            raise
        if len(items) == 1:
            (document,) = fold(items).items[:1]
            reason = f"{type(error).__name__}: {error.diag.message_primary}"
            await _reject(connection, items[0], document, reason)
            return
        middle = len(items) // 2
        await _apply_in_halves(connection, items[:middle])
        await _apply_in_halves(connection, items[middle:])


async def _reject(connection: Connection, entry: InboundItem, raw: object, reason: str) -> None:
    log.warning("item_rejected", inbox_id=entry.inbox_id, correlation_id=entry.correlation_id)
    summary = Jsonb(raw)
    await connection.execute(
        "select chatsync.reject_delivery("
        "%s, %s, %s, 'item', convert_to(%s::jsonb::text, 'UTF8'), %s, %s)",
        [entry.tenant_id, entry.inbox_id, entry.correlation_id, summary, summary, reason],
    )

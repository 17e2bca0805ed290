"""The write side: what providers sent becomes rows and events, in the caller's transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Connection
from chatsync.inbox.documents import InboundItem, fold
from chatsync.providers.inbound import Ignored, Malformed
from chatsync.refusals import is_transient
from chatsync.telemetry import metrics

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Items ready to be sent, as JSON: all that can be done without the database is done."""

    items: Sequence[InboundItem]
    contacts: str
    documents: str
    rejected: str


def prepare(items: Sequence[InboundItem]) -> Prepared:
    """Describe items, in order, as the SQL function apply_inbound_and_settle() takes them."""
    rejected: list[dict[str, Any]] = []
    meant: list[InboundItem] = []
    for entry in items:
        match entry.item:
            case Malformed():
                log.warning(
                    "item_rejected",
                    inbox_id=entry.inbox_id,
                    correlation_id=entry.correlation_id,
                    reason=entry.item.reason,
                )
                metrics.ITEMS_PUT_ASIDE.labels("malformed").inc()
                rejected.append(_rejection(entry, entry.item.item, entry.item.reason))
            case Ignored():
                metrics.ITEMS_PUT_ASIDE.labels("ignored").inc()
            case _:
                meant.append(entry)
    folded = fold(meant)
    return Prepared(
        items, json.dumps(folded.contacts), json.dumps(folded.items), json.dumps(rejected)
    )


async def apply_one_by_one(connection: Connection, prepared: Prepared) -> None:
    """Apply items in order; one that cannot be applied is dead-lettered alone.

    Raises psycopg.Error only for what a later try may not meet.
    """
    await connection.execute("select chatsync.reject_items(%s)", [prepared.rejected])
    meant = [e for e in prepared.items if not isinstance(e.item, Malformed | Ignored)]
    await _apply_in_halves(connection, meant)


async def _apply_in_halves(connection: Connection, items: Sequence[InboundItem]) -> None:
    """Apply all at once, or in halves where that fails: a bad item costs log2(n) tries."""
    if not items:
        return
    folded = fold(items)
    try:
        async with connection.transaction():
            await connection.execute(
                "select chatsync.apply_inbound(%s, %s)",
                [Jsonb(folded.contacts), Jsonb(folded.items)],
            )
    except psycopg.Error as error:
        if is_transient(error):
            raise
        if len(items) == 1:
            reason = f"{type(error).__name__}: {error.diag.message_primary}"
            log.warning("item_rejected", correlation_id=items[0].correlation_id, reason=reason)
            rejection = _rejection(items[0], folded.items[0], reason)
            await connection.execute("select chatsync.reject_items(%s)", [Jsonb([rejection])])
            return
        middle = len(items) // 2
        await _apply_in_halves(connection, items[:middle])
        await _apply_in_halves(connection, items[middle:])


def _rejection(entry: InboundItem, raw: object, reason: str) -> dict[str, Any]:
    return {
        "tenant_id": entry.tenant_id,
        "inbox_id": entry.inbox_id,
        "correlation_id": entry.correlation_id,
        "item": raw,
        "reason": reason,
    }

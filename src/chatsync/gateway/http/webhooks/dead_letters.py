"""Deliveries that are genuine but that nobody can process: kept, and answered with 200."""

from collections.abc import Mapping

import structlog
from psycopg.types.json import Jsonb

from chatsync.database import Database
from chatsync.gateway.inboxes import Inbox

UNROUTED = "_unrouted"

log = structlog.stdlib.get_logger(__name__)


async def reject(
    database: Database,
    correlation_id: str,
    body: bytes,
    reason: str,
    *,
    inbox: Inbox | None = None,
    summary: object = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Keep a delivery for its inbox's tenant, or for nobody. Raises DatabaseUnavailable."""
    log.warning("delivery_rejected", reason=reason, correlation_id=correlation_id)
    await database.fetch_value(
        "select chatsync.reject_delivery(%s, %s, %s, 'delivery', %b, %s, %s, %s)",
        [
            inbox.tenant_id if inbox else UNROUTED,
            inbox.inbox_id if inbox else None,
            correlation_id,
            body,
            None if summary is None else Jsonb(summary),
            reason,
            Jsonb(metadata or {}),
        ],
    )

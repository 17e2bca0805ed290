"""Judges cursors: where a reader of the log may begin. One rule for every transport."""

from collections.abc import Iterable

from chatsync.events.feed import Feed, TenantFeed
from chatsync.gateway.effects import Start
from chatsync.gateway.receipt import Acknowledged
from chatsync.model import Cursor


async def locate(feed: Feed, tenant: TenantFeed, cursor: Cursor | None) -> Start:
    """Begin at a usable cursor, else at the head with the reason: new, epoch, ahead or trimmed.

    Raises DatabaseUnavailable when the log's state has to be looked up and cannot be.
    """
    if cursor is not None and not _is_within(tenant, cursor):
        # Another gateway may have told the client more than this one has heard of.
        await feed.refresh(tenant)
    reason = _objection(tenant, cursor)
    position = tenant.head if cursor is None or reason is not None else cursor.seq
    source = "none"
    if position < tenant.head:
        source = "ring" if tenant.holds(position) else "log"
    return Start(tenant.epoch, position, tenant.head, reason, source)


async def locate_kept(
    feed: Feed,
    tenant: TenantFeed,
    kept: Acknowledged | None,
    topics: Iterable[str],
    max_events: int,
) -> Start:
    """Begin where a device acknowledged, as after a cursor that its client named.

    That is so if it held all these topics, and at most so many events came since. Else begin as
    whoever names no cursor: `new`. Raises DatabaseUnavailable.
    """
    if kept is not None and kept.topics.issuperset(topics):
        start = await locate(feed, tenant, kept.cursor)
        if start.reason is None and start.head - start.position <= max_events:
            return start
    return await locate(feed, tenant, None)


def _is_within(tenant: TenantFeed, cursor: Cursor) -> bool:
    return cursor.epoch == tenant.epoch and tenant.trimmed_to <= cursor.seq <= tenant.head


def _objection(tenant: TenantFeed, cursor: Cursor | None) -> str | None:
    if cursor is None:
        return "new"
    if cursor.epoch != tenant.epoch:
        return "epoch"
    if cursor.seq > tenant.head:
        return "ahead"
    return "trimmed" if cursor.seq < tenant.trimmed_to else None

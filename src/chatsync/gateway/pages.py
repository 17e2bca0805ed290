"""Brings a session on in its tenant's log, a page at a time, whatever carries its frames away."""

from collections.abc import Sequence
from itertools import accumulate

from chatsync.database import Database
from chatsync.events.feed import EpochChanged, Feed, TenantFeed, Trimmed
from chatsync.gateway import standing
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.model import Event
from chatsync.telemetry import metrics

PAGE = 100
# What a client that does not read holds is a frame or two: bounded in bytes, too.
PAGE_BYTES = 262_144


async def deliver_page(
    feed: Feed, tenant: TenantFeed, session: Session, database: Database
) -> bool:
    """Give an open session what comes next; false when it has all there is.

    What cannot be given completely becomes a reset, and what may not be heard any more is not
    given. Raises DatabaseUnavailable.
    """
    if session.reading.epoch != tenant.epoch:
        session.reset(await locate(feed, tenant, session.reading.cursor))
    if session.is_in_doubt:
        await standing.ask_again(session, database, tenant)
        return True
    position = session.reading.position
    if position >= tenant.head:
        return False
    try:
        found = await feed.page(tenant, position, PAGE)
    except (Trimmed, EpochChanged):
        await feed.refresh(tenant)
        start = await locate(feed, tenant, session.reading.cursor)
        if start.reason is not None:
            session.reset(start)
        return True
    assert session.claims is not None
    sight = session.sight
    await sight.look(database, session.claims, found)
    # A sync may have moved the position while the log was read.
    if found and session.reading.position == position:
        found = standing.until_change(_first_bytes(found), session.claims)
        before = session.reading.events_written
        # What is hidden from one is in the frames of others.
        frames = {} if sight.is_limited else tenant.frames
        session.deliver(sight.visible(found), found[-1].seq, frames)
        session.is_in_doubt |= standing.says_so(found[-1], session.claims)
        metrics.EVENTS_DELIVERED.inc(session.reading.events_written - before)
    return True


def _first_bytes(found: Sequence[Event]) -> Sequence[Event]:
    """As many events as PAGE_BYTES hold, and one at least."""
    sizes = accumulate(len(event.encoded) for event in found)
    fitting = sum(1 for size in sizes if size <= PAGE_BYTES)
    return found if fitting == len(found) else found[: max(1, fitting)]

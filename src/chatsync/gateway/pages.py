"""Pages of a tenant's log: what a session is given at once, whatever carries its frames away.

A page is bounded in events and in bytes: it is what one client that does not read may hold here.
"""

from collections.abc import Sequence
from itertools import accumulate

from chatsync.events.feed import EpochChanged, Feed, TenantFeed, Trimmed
from chatsync.gateway import standing
from chatsync.gateway.access import Access
from chatsync.gateway.resume import locate
from chatsync.gateway.session import Session
from chatsync.model import Event
from chatsync.telemetry import metrics

PAGE_EVENTS = 100
SOCKET_BYTES = 65_536
# A response that waits for its client is a task, which larger pages wake less often.
STREAM_BYTES = 262_144


def cut(found: Sequence[Event], most_bytes: int) -> Sequence[Event]:
    """As many of the events as a page of that size holds, and at least one."""
    sizes = accumulate(len(event.encoded) for event in found[:PAGE_EVENTS])
    return found[: max(1, sum(size <= most_bytes for size in sizes))]


async def read(
    feed: Feed, tenant: TenantFeed, session: Session, access: Access, most_bytes: int
) -> Sequence[Event]:
    """The page after an open session's position, or nothing where that is not to be had any more.

    Who may see what it is about is known by then. What cannot be given completely becomes a reset.
    Raises DatabaseUnavailable.
    """
    assert session.claims is not None
    place = session.reading.cursor
    if tenant.epoch != place.epoch:
        return ()
    try:
        found = await feed.page(tenant, place.seq, PAGE_EVENTS)
    except (Trimmed, EpochChanged):
        await feed.refresh(tenant)
        start = await locate(feed, tenant, session.reading.cursor)
        if start.reason is not None:
            session.reset(start)
        return ()
    found = cut(found, most_bytes)
    await session.sight.look(access, session.claims, found)
    # A sync or a redelivery may have moved the position while the log was read, and another life of
    # the log have begun.
    return found if session.reading.cursor == place and tenant.epoch == place.epoch else ()


def give(tenant: TenantFeed, session: Session, found: Sequence[Event]) -> int:
    """Give an open session the next events of its log; returns how many of them it wanted.

    What comes after a change of its access waits until that is judged.
    """
    claims, reading = session.claims, session.reading
    assert claims is not None
    if len(found) > 1:
        found = standing.until_change(found, claims)
    before, given = reading.events_written, found
    frames: dict[object, bytes] = tenant.frames
    if session.sight.is_limited:
        # What is hidden from one is in the frames of others.
        given, frames = session.sight.visible(found), {}
    session.deliver(given, found[-1].seq, frames)
    session.is_in_doubt |= standing.says_so(found[-1], claims)
    return reading.events_written - before


async def begin_anew(feed: Feed, tenant: TenantFeed, session: Session) -> None:
    """Find the place in a log that began another life. Raises DatabaseUnavailable."""
    session.reset(await locate(feed, tenant, session.reading.cursor))


async def deliver_next(feed: Feed, tenant: TenantFeed, session: Session, access: Access) -> bool:
    """Bring a stream's session on by a page; false when it has all there is.

    Raises DatabaseUnavailable.
    """
    if session.reading.epoch != tenant.epoch:
        await begin_anew(feed, tenant, session)
    if session.is_in_doubt:
        await standing.ask_again(session, access, tenant)
        return True
    if session.reading.position >= tenant.head:
        return False
    found = await read(feed, tenant, session, access, STREAM_BYTES)
    if found:
        metrics.EVENTS_DELIVERED.inc(give(tenant, session, found))
    return True

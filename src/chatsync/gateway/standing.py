"""Whether a session may still hear what it holds, asked again when that may have changed.

Events that come after `access:changed` wait for the answer, in a replay as well. What a reset
passes over may have held one, so that a reset asks, too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatsync.events.feed import TenantFeed
from chatsync.gateway.access import Access
from chatsync.gateway.effects import Start
from chatsync.model import Claims, CloseCode, Cursor, Event

if TYPE_CHECKING:
    from chatsync.gateway.session import Session

ACCESS_CHANGED = "access:changed"


def until_change(found: Sequence[Event], claims: Claims) -> Sequence[Event]:
    """The events up to the first that says that this user's access changed; else all."""
    for number, event in enumerate(found, 1):
        if says_so(event, claims):
            return found[:number]
    return found


def says_so(event: Event, claims: Claims) -> bool:
    """Whether an event says that this user's access changed."""
    return event.kind == ACCESS_CHANGED and f"user:{claims.user_id}" in event.topics


def is_overtaken(asked_at: Cursor, start: Start) -> bool:
    """Whether a session begins beyond what was known when it was asked what it may hear.

    What it passes over by that may hold a change that the answer does not know.
    """
    return start.epoch != asked_at.epoch or start.position > asked_at.seq


async def ask_again(session: "Session", access: Access, feed: TenantFeed) -> None:
    """Judge an open session anew; what it may no longer hear, it is told.

    It begins anew at a head that was read before the question: what is passed over by that cannot
    hold a change that the answer does not know. Raises DatabaseUnavailable.
    """
    assert session.claims is not None
    epoch, head, held = feed.epoch, feed.head, session.topics
    # Whoever holds nothing is asked about what is surely theirs.
    asked = sorted(held) or [f"user:{session.claims.user_id}"]
    judged = await access.judge(session.claims, asked)
    denied = judged.denied
    session.sight.begin(is_limited=not judged.sees_all)
    session.is_in_doubt = False
    if len(denied) == len(asked):
        session.close(CloseCode.ACCESS_REVOKED, "access was taken away")
    elif denied:
        session.topics -= frozenset(denied)
        session.reset(Start(epoch, head, head, "access"), denied)
        session.is_in_doubt = False

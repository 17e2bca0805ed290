"""How a session begins: where in the log, or with which close code not at all."""

from collections.abc import Sequence

from chatsync.errors import RateLimited, RequestError, TokenExpired, Unavailable
from chatsync.events.feed import TenantFeed
from chatsync.gateway import auth
from chatsync.gateway.devices import Held
from chatsync.gateway.effects import Open, Start
from chatsync.gateway.resume import locate, locate_kept
from chatsync.gateway.shared import Shared
from chatsync.model import CloseCode


async def start(
    shared: Shared, feed: TenantFeed, asked: Open, topics: Sequence[str], held: Held | None
) -> Start:
    """Where it begins: at its client's cursor, else where its device acknowledged, else anew.

    Raises DatabaseUnavailable.
    """
    kept = None if held is None else await shared.devices.take(held)
    if asked.cursor is not None:
        return await locate(shared.feed, feed, asked.cursor)
    return await locate_kept(shared.feed, feed, kept, topics, shared.devices.max_events)


def close_code(error: RequestError) -> CloseCode:
    """What refuses a `connect` says to its client."""
    match error:
        case TokenExpired():
            return CloseCode.TOKEN_EXPIRED
        case auth.NotYetValid():
            return CloseCode.TOKEN_NOT_YET_VALID
        case RateLimited():
            return CloseCode.TOO_MANY_SESSIONS
        case Unavailable():
            return CloseCode.OVERLOADED
        case _:
            return CloseCode.UNAUTHORIZED

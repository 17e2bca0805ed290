"""Which close code ends a session whose `connect` is refused."""

from chatsync.errors import RateLimited, RequestError, TokenExpired, Unavailable
from chatsync.gateway.auth import NotYetValid
from chatsync.model import CloseCode


def close_code(error: RequestError) -> CloseCode:
    """The code for what `connect` ran into."""
    match error:
        case TokenExpired():
            return CloseCode.TOKEN_EXPIRED
        case NotYetValid():
            return CloseCode.TOKEN_NOT_YET_VALID
        case RateLimited():
            return CloseCode.TOO_MANY_SESSIONS
        case Unavailable():
            return CloseCode.OVERLOADED
        case _:
            return CloseCode.UNAUTHORIZED

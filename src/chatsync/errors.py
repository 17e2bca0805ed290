"""Every error that chatsync raises, as one tree. A class is a reaction; its code never changes.

ChatsyncError
├── ConfigError              a setting or the machine is wrong: say it in one sentence, exit with 2
├── SchemaMismatch           the database is newer than this code, or not migrated: exit with 3
├── DatabaseUnavailable      no answer, or a transient refusal: retry with backoff; 503 to callers
├── QueueFull                the queue takes no more for now: try again later; 503 to callers
├── LeaseLost                the work was handed to another worker: drop it, touch nothing
├── SessionEnded             of a client: coming back is of no use; the application has to know
├── ConnectionLost           of a client: a request's outcome is unknown; look, then ask again
├── ProtocolViolation        of a client: the server sent what the protocol does not know; reconnect
├── HandlerOutcome           raised by a handler to say what becomes of a message
│   ├── Retry                try again, after a delay if one is given
│   ├── Pause                give it back uncharged, and let nothing of its inbox begin meanwhile
│   └── Permanent            dead-letter at once
└── RequestError             the caller's mistake; carries the HTTP status and a sentence to show
    ├── BadRequest · BadCursor · TokenInUrl · Unauthorized · TokenExpired · Forbidden
    ├── NotFound · Conflict · ResetRequired · TooLarge · Invalid
    └── RateLimited · ProviderFailed · Unavailable · InternalError
"""

from datetime import timedelta
from typing import ClassVar, Literal, TypeAlias

MAX_AFTER_SECONDS = 366 * 24 * 3600.0
# Less would be a loop.
MIN_PAUSE_SECONDS = 1.0

# What of a message's surroundings a pause is for.
PauseScope: TypeAlias = Literal["queue", "tenant", "inbox", "key"]


class ChatsyncError(Exception):
    """Base of the tree. `code` is stable; `message` is safe to show to whoever caused it."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(ChatsyncError):
    code = "config"


class SchemaMismatch(ChatsyncError):
    code = "schema_mismatch"


class DatabaseUnavailable(ChatsyncError):
    code = "unavailable"


class QueueFull(ChatsyncError):
    code = "queue_full"


class LeaseLost(ChatsyncError):
    code = "lease_lost"


class SessionEnded(ChatsyncError):
    """A client stops. `close_code` says why (protocol §3), where the server closed."""

    code = "session_ended"

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class ConnectionLost(ChatsyncError):
    code = "connection_lost"


class ProtocolViolation(ChatsyncError):
    code = "protocol_violation"


class HandlerOutcome(ChatsyncError):
    code = "handler_outcome"


class Retry(HandlerOutcome):
    """Ask for another attempt. `after`, in seconds or as a timedelta, overrides the backoff."""

    code = "retry"

    def __init__(self, message: str, *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_seconds = _seconds(after)


class Pause(HandlerOutcome):
    """Say that not the message but its surroundings must rest: nothing of them begins.

    The message goes back uncharged. `after`, in seconds or as a timedelta, ends the pause; without
    it, whoever resumes. A message without an inbox pauses its tenant in that queue.
    """

    code = "pause"

    def __init__(
        self,
        message: str,
        *,
        after: float | timedelta | None = None,
        scope: PauseScope = "inbox",
    ) -> None:
        super().__init__(message)
        seconds = _seconds(after)
        self.after_seconds = None if seconds is None else max(MIN_PAUSE_SECONDS, seconds)
        self.scope: PauseScope = scope


class Permanent(HandlerOutcome):
    code = "permanent"


def _seconds(after: float | timedelta | None) -> float | None:
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    # Whatever a float can say (a NaN as well) becomes what the database's clock can.
    return None if seconds is None else min(max(0.0, seconds), MAX_AFTER_SECONDS)


class RequestError(ChatsyncError):
    """A request that cannot be served, as frames and HTTP both report it."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        retry_after_ms: int | None = None,
        data: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.data = data


class BadRequest(RequestError):
    code = "bad_request"
    status = 400


class BadCursor(RequestError):
    code = "bad_cursor"
    status = 400


class TokenInUrl(RequestError):
    code = "token_in_url"
    status = 400


class Unauthorized(RequestError):
    code = "unauthorized"
    status = 401


class TokenExpired(RequestError):
    code = "token_expired"
    status = 401


class Forbidden(RequestError):
    code = "forbidden"
    status = 403


class NotFound(RequestError):
    code = "not_found"
    status = 404


class Conflict(RequestError):
    code = "conflict"
    status = 409


class ResetRequired(RequestError):
    """The cursor cannot be continued; `data.reason` is trimmed, epoch or ahead."""

    code = "reset"
    status = 410


class TooLarge(RequestError):
    code = "too_large"
    status = 413


class Invalid(RequestError):
    """A field has a value that cannot be served; the message names the field."""

    code = "invalid"
    status = 422


class RateLimited(RequestError):
    code = "rate_limited"
    status = 429
    retryable = True


class ProviderFailed(RequestError):
    """A provider refused or did not answer what was asked of it on a caller's behalf."""

    code = "provider_failed"
    status = 502


class Unavailable(RequestError):
    code = "unavailable"
    status = 503
    retryable = True


class InternalError(RequestError):
    code = "internal"
    status = 500
    retryable = True

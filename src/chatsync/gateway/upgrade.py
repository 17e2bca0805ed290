"""Which upgrades to a WebSocket are refused before they are accepted (protocol §1)."""

from collections.abc import Set

from starlette.responses import Response
from starlette.types import Scope

from chatsync.errors import Forbidden, TokenInUrl
from chatsync.gateway.auth import has_token_in_url
from chatsync.gateway.http.problems import correlated, correlation_id_of, problem


def refusal(scope: Scope, allowed_origins: Set[str]) -> Response | None:
    """The answer to an upgrade that is refused; None where it may be accepted."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
    if origin is not None and origin.decode("latin-1") not in allowed_origins:
        error = Forbidden("this origin is not allowed")
    elif has_token_in_url(scope):
        error = TokenInUrl("a token does not belong in a URL")
    else:
        return None
    correlation_id = correlation_id_of(scope)
    return correlated(problem(error, correlation_id), correlation_id)

"""What every HTTP answer has: a correlation id, and for errors a problem document (RFC 9457)."""

import json
import os
import re
from http import HTTPStatus

import psycopg
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatsync.errors import (
    DatabaseUnavailable,
    InternalError,
    Invalid,
    RequestError,
    TokenInUrl,
    Unavailable,
)
from chatsync.gateway.auth import has_token_in_url
from chatsync.telemetry import metrics

_CORRELATION_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

log = structlog.stdlib.get_logger(__name__)


def problem(error: RequestError, correlation_id: str, status: int | None = None) -> Response:
    """The document of an error; `status` is another one than its own, as the router's 405."""
    status = status or error.status
    document: dict[str, object] = {
        "type": f"urn:chatsync:{error.code}",
        "title": error.code.replace("_", " "),
        "status": status,
        "code": error.code,
        "detail": error.message,
        "correlationId": correlation_id,
        **(error.data or {}),
    }
    headers: dict[str, str] = {}
    if error.retry_after_ms is not None:
        document["retryAfterMs"] = error.retry_after_ms
        headers["Retry-After"] = str(max(1, -(-error.retry_after_ms // 1000)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(document), status, headers, "application/problem+json")


def written(error: RequestError, status: HTTPStatus) -> bytes:
    """The whole answer to what never became a request, after which its connection ends."""
    correlation_id = _new_id()
    response = correlated(problem(error, correlation_id, status), correlation_id)
    metrics.HTTP_REQUESTS.labels(f"{status // 100}xx").inc()
    lines = [f"HTTP/1.1 {status} {status.phrase}".encode(), b"connection: close"]
    lines += [b"%b: %b" % header for header in response.raw_headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def classified(error: Exception) -> RequestError:
    """What a caller may know of any exception."""
    match error:
        case RequestError():
            return error
        case psycopg.DataError():
            # Only what a caller sent can have a form or a range that PostgreSQL refuses.
            return Invalid("a value of the request cannot be used")
        case DatabaseUnavailable() | psycopg.OperationalError():
            return Unavailable("the database does not answer", retry_after_ms=1000)
        case _:
            return InternalError("something went wrong here", retry_after_ms=5000)


def explained(error: Exception, correlation_id: str, path: str) -> Response:
    """The answer to a request that raised; what is our own fault is logged."""
    answer = classified(error)
    if isinstance(answer, InternalError):
        log.error("request_failed", path=path, error=repr(error), correlation_id=correlation_id)
    return problem(answer, correlation_id)


class Problems:
    """Outermost middleware: correlates requests and answers for whatever an endpoint raises."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = correlation_id_of(scope)
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        has_begun = False

        async def send_correlated(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-correlation-id", correlation_id.encode()),
                ]
                metrics.HTTP_REQUESTS.labels(f"{message['status'] // 100}xx").inc()
            await send(message)

        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            try:
                if has_token_in_url(scope):
                    raise TokenInUrl("a token does not belong in a URL")
                await self._app(scope, receive, send_correlated)
            except ClientDisconnect:
                pass
            except Exception as error:
                if has_begun:
                    raise
                await explained(error, correlation_id, scope["path"])(
                    scope, receive, send_correlated
                )


def correlation_id(request: Request) -> str:
    return request.state.correlation_id


def correlated(response: Response, correlation_id: str) -> Response:
    """An answer that does not come through `Problems`, with its id."""
    response.headers["X-Correlation-Id"] = correlation_id
    return response


def correlation_id_of(scope: Scope) -> str:
    """The one that the request names, where it is usable, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-correlation-id" and _CORRELATION_ID.fullmatch(value):
            return value.decode()
    return _new_id()


def _new_id() -> str:
    return os.urandom(16).hex()

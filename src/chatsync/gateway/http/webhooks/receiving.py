"""The way in for the webhooks of all providers: reads a body within its limit, answers.

The busiest path of a gateway, hence plain ASGI before the router and its middleware. Must never
answer 200 before the endpoint has returned, nor log a body.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from chatsync.errors import RequestError, TokenInUrl, TooLarge
from chatsync.gateway.auth import has_token_in_url
from chatsync.gateway.http.problems import correlation_id_of, explained
from chatsync.telemetry import metrics

_PREFIX = "/webhooks/"
_EMPTY_BODY = {"type": "http.response.body", "body": b""}


@dataclass(frozen=True, slots=True)
class Incoming:
    """One POST as it came. `argument` is the segment of its path behind the endpoint's."""

    headers: Mapping[bytes, bytes]
    raw: bytes
    correlation_id: str
    argument: str

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def some_headers(self, *names: str) -> dict[str, str]:
        """Those of the headers that came, by their names in lower case."""
        found = ((name, self.header(name.encode())) for name in names)
        return {name: value for name, value in found if value is not None}


class Endpoint(Protocol):
    """Takes the deliveries of one provider."""

    provider: str
    most_bytes: int

    async def take(self, incoming: Incoming) -> None:
        """Commit a delivery. Raises Unauthorized, Unavailable, DatabaseUnavailable."""
        ...


class Webhooks:
    """Middleware: POSTs to the endpoints' paths go no further. A path that ends in a slash takes
    one more segment."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._doors = {path: _Door(endpoint) for path, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_PREFIX):
                door, argument = self._doors.get(path), ""
                if door is None:
                    head, _, argument = path.rpartition("/")
                    door = self._doors.get(head + "/")
                if door is not None:
                    await door.open(argument, scope, receive, send)
                    return
        await self._app(scope, receive, send)


class _Door:
    """An endpoint and its counters, which are looked up once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._accepted = _outcome(endpoint.provider, "accepted")
        self._refused = _outcome(endpoint.provider, "refused")
        self._unavailable = _outcome(endpoint.provider, "unavailable")
        self._ok = metrics.HTTP_REQUESTS.labels("2xx")

    async def open(self, argument: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST."""
        correlation_id = correlation_id_of(scope)
        try:
            if scope["query_string"] and has_token_in_url(scope):
                raise TokenInUrl("a token does not belong in a URL")
            headers = dict(scope["headers"])
            raw = await _read(headers.get(b"content-length"), receive, self._endpoint.most_bytes)
            began = time.monotonic()
            await self._endpoint.take(Incoming(headers, raw, correlation_id, argument))
        except ClientDisconnect:
            return
        except Exception as error:
            is_refused = isinstance(error, RequestError) and error.status < 500
            (self._refused if is_refused else self._unavailable).inc()
            answer = explained(error, correlation_id, scope["path"])
            answer.headers["X-Correlation-Id"] = correlation_id
            metrics.HTTP_REQUESTS.labels(f"{answer.status_code // 100}xx").inc()
            await answer(scope, receive, send)
            return
        self._accepted.inc()
        self._ok.inc()
        metrics.WEBHOOK_SECONDS.observe(time.monotonic() - began)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-length", b"0"),
                    (b"x-correlation-id", correlation_id.encode()),
                ],
            }
        )
        await send(_EMPTY_BODY)


def _outcome(provider: str, outcome: str) -> Counter:
    return metrics.WEBHOOKS.labels(provider, outcome)


async def _read(declared: bytes | None, receive: Receive, most_bytes: int) -> bytes:
    """The raw body. Raises TooLarge before it has read more than the limit, ClientDisconnect."""
    if declared is not None and declared.isdigit() and int(declared[:19]) > most_bytes:
        raise TooLarge(f"the body is larger than {most_bytes} bytes")
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > most_bytes:
            raise TooLarge(f"the body is larger than {most_bytes} bytes")
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)

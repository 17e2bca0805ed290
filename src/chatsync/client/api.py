"""The HTTP side of a gateway, for a client: requests with a token, problems as errors of the tree.

Close codes stand for what a refusal means to a stream, so that every transport is judged alike.
"""

from collections.abc import Mapping
from typing import cast

import httpx2

from chatsync import strict_json
from chatsync.client.entries import Frame
from chatsync.client.link import LinkClosed
from chatsync.client.reconnect import Ending
from chatsync.client.requests import error_of
from chatsync.errors import ChatsyncError, ProtocolViolation, RequestError, Unavailable

# For an answer that has no reason to take longer.
TIMEOUT_SECONDS = 30.0
PROBLEM = "application/problem+json"

_CLOSE_CODES = {
    "token_expired": 4300,
    "reset": 4401,
    "rate_limited": 4201,
    "unavailable": 4200,
    "internal": 4202,
}
# What the protocol asks of a session that is refused for another reason: stop.
_REFUSED = 4501

# Where a request goes that has no WebSocket to go over (protocol §5).
_PATHS = {
    "send": "messages",
    "read": "read",
    "accept": "accept",
    "transfer": "transfer",
    "status": "status",
}


class Api:
    """One gateway's address."""

    def __init__(self, base: str, http: httpx2.AsyncClient) -> None:
        self._base = base
        self.http = http

    def address(self, path: str) -> str:
        return self._base + path

    async def get(
        self, path: str, query: Mapping[str, str], token: str, timeout: float = TIMEOUT_SECONDS
    ) -> Frame:
        """An answer's JSON object. Raises RequestError, Unavailable when nobody answers."""
        try:
            answer = await self.http.get(
                self.address(path), params=dict(query), headers=bearer(token), timeout=timeout
            )
        except httpx2.TransportError as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        return _document(answer)

    async def command(self, frame: Frame, token: str) -> Frame:
        """Carry out a request over HTTP; returns the `reply` or `error` frame it stands for."""
        fields = {name: value for name, value in frame.items() if name not in {"type", "id"}}
        try:
            path = _PATHS[frame["type"]]
        except KeyError:
            return _failed(frame, Unavailable(f"{frame['type']} needs a WebSocket"), again=True)
        address = self.address(f"/api/conversations/{fields.pop('conversationId')}/{path}")
        try:
            answer = await self.http.post(
                address, json=fields, headers=bearer(token), timeout=TIMEOUT_SECONDS
            )
            return {"type": "reply", "id": frame["id"], "data": _document(answer)}
        except httpx2.TransportError as error:
            return _failed(frame, Unavailable(str(error)), again=True)
        except RequestError as error:
            return _failed(frame, error, again=error.retryable)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refusal(answer: httpx2.Response) -> RequestError | None:
    """The problem that an answer is; None where something else than a gateway has answered."""
    if answer.headers.get("content-type", "").partition(";")[0] != PROBLEM:
        return None
    try:
        document = strict_json.loads(answer.content)
        if not isinstance(document, dict):
            return None
        # What a problem adds to its own fields is what an error frame has in `data`.
        problem = cast(Frame, document)
        error = error_of({**problem, "data": problem})
    except (ValueError, ProtocolViolation):
        return None
    return error if isinstance(error, RequestError) else None


def closed_by(error: ChatsyncError) -> LinkClosed:
    """What a refused stream means, as the close code that says it."""
    code = _CLOSE_CODES.get(error.code, _REFUSED)
    retry_ms = error.retry_after_ms if isinstance(error, RequestError) else None
    window = None if retry_ms is None else (retry_ms / 1000, retry_ms / 1000)
    return LinkClosed(Ending(code, error.message, window))


def _document(answer: httpx2.Response) -> Frame:
    if not answer.is_success:
        error = refusal(answer)
        raise error or Unavailable(f"the answer is a {answer.status_code} of something else")
    document = strict_json.loads(answer.content)
    if not isinstance(document, dict):
        raise ProtocolViolation("an answer that is no object")
    return cast(Frame, document)


def _failed(frame: Frame, error: RequestError, *, again: bool) -> Frame:
    failure: Frame = {"code": error.code, "message": error.message, "retryable": again}
    if error.retry_after_ms is not None:
        failure["retryAfterMs"] = error.retry_after_ms
    return {**failure, "type": "error", "id": frame["id"], "data": error.data or {}}


def address_of(url: str) -> tuple[str, str]:
    """A gateway's base address over HTTP, and its WebSocket's, from either."""
    base = url.rstrip("/").removesuffix("/ws")
    scheme, colon, rest = base.partition("://")
    if not colon or scheme not in {"http", "https", "ws", "wss"}:
        raise ValueError("an address begins with http, https, ws or wss")
    is_safe = scheme in {"https", "wss"}
    return (
        f"{'https' if is_safe else 'http'}://{rest}",
        f"{'wss' if is_safe else 'ws'}://{rest}/ws",
    )

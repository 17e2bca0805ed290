"""What endpoints read from a request: the caller, limits, cursors, bodies."""

import base64
import binascii
import json
from typing import cast

from starlette.requests import Request

from chatsync.errors import Invalid, TooLarge, Unauthorized
from chatsync.gateway.auth import Authenticator, bearer
from chatsync.model import Claims, Cursor

MAX_LIMIT = 200


async def caller(request: Request, authenticator: Authenticator) -> Claims:
    """Who is asking. Raises Unauthorized, TokenExpired, Unavailable."""
    token = bearer(request.scope)
    if token is None:
        raise Unauthorized("no token")
    return await authenticator.claims(token)


def integer(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A whole number from the query. Raises Invalid naming it."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 12):
        raise Invalid(f"{name} must be a whole number")
    number = int(text)
    if not least <= number <= most:
        raise Invalid(f"{name} must be between {least} and {most}")
    return number


def limit(request: Request, default: int = 50) -> int:
    return integer(request, "limit", default=default, least=1, most=MAX_LIMIT)


def cursor(request: Request, name: str = "cursor") -> Cursor | None:
    """A cursor from the query. Raises BadCursor."""
    text = request.query_params.get(name)
    return None if text is None else Cursor.parse(text)


def identifier(text: str | None, name: str) -> int | None:
    """A numeric id as the wire spells it; None where there is none. Raises Invalid."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid(f"{name} must be an id")
    return int(text)


def encode_token(values: list[object]) -> str:
    """A page token: opaque to clients, cheap to read back."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decode_token(text: str, name: str, kinds: tuple[type, ...]) -> list[object]:
    """Read a page token back. Raises Invalid for what this server never made."""
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"{name} is not a page token") from error
    if not isinstance(values, list):
        raise Invalid(f"{name} is not a page token")
    values = cast(list[object], values)
    if len(values) != len(kinds) or any(
        type(value) is not kind for value, kind in zip(values, kinds, strict=True)
    ):
        raise Invalid(f"{name} is not a page token")
    return values


async def body(request: Request, most_bytes: int) -> bytes:
    """The raw body. Raises TooLarge before it has read more than the limit."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes:
        raise TooLarge(f"the body is larger than {most_bytes} bytes")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise TooLarge(f"the body is larger than {most_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)

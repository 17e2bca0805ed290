"""The body of a webhook: decoded strictly, cleaned of what PostgreSQL's text cannot hold."""

import re
from typing import Any, TypeAlias, cast

from chatsync import strict_json

JsonObject: TypeAlias = dict[str, Any]

# NUL, and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

MAX_DEPTH = 64  # Protocol §5: deeper bodies are kept as dead letters.


class BodyError(ValueError):
    """A body that is no JSON object a provider could have meant; the message says why."""


def parse_json(body: bytes) -> JsonObject:
    """Decode a body strictly: an object, no NaN, at most MAX_DEPTH deep. Raises BodyError.

    Lone surrogates and NUL, which PostgreSQL's text cannot hold, become U+FFFD.
    """
    if _depth(body) > MAX_DEPTH:
        raise BodyError(f"nested deeper than {MAX_DEPTH}")
    try:
        decoded = strict_json.loads(body)
    except ValueError as error:
        raise BodyError("not JSON") from error
    if not isinstance(decoded, dict):
        raise BodyError("not a JSON object")
    return (
        cast(JsonObject, clean(cast(object, decoded)))
        if _needs_cleaning(body)
        else cast(JsonObject, decoded)
    )


def clean(value: object) -> object:
    """Replace what PostgreSQL's text cannot hold, in every string of a JSON value."""
    match value:
        case str():
            return clean_text(value)
        case list():
            return [clean(item) for item in cast(list[object], value)]
        case dict():
            entries = cast(dict[str, object], value).items()
            return {clean_text(key): clean(item) for key, item in entries}
        case _:
            return value


def clean_text(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _needs_cleaning(body: bytes) -> bool:
    # Raw NUL is no JSON; only an escape can bring one, or half a surrogate pair.
    lowered = body.lower()
    return b"\\u0000" in lowered or b"\\ud" in lowered


def _depth(body: bytes) -> int:
    """The deepest nesting of brackets outside strings."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest

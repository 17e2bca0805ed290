"""The body of a webhook: decoded strictly, cleaned of what PostgreSQL's text cannot hold."""

import re
from itertools import accumulate
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
    """The deepest nesting of brackets outside strings, or any depth beyond MAX_DEPTH.

    Without a step of Python for each byte: 30 MB of media in base64 took a second so, not 0.06.
    """
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return 0
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes side by side end one string and begin the next, or hold nothing.
    marks = body.translate(None, _NO_MARKS).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    depth = deepest = 0
    for start in range(0, len(brackets), _CHUNK):
        steps = map(_STEPS.__getitem__, brackets[start : start + _CHUNK])
        depths = list(accumulate(steps, initial=depth))
        depth, deepest = depths[-1], max(deepest, *depths)
        if deepest > MAX_DEPTH:
            break
    return deepest


_NO_MARKS = bytes(byte for byte in range(256) if byte not in b'"{}[]')
_STEPS = [(byte in b"{[") - (byte in b"}]") for byte in range(256)]
_CHUNK = 65_536

"""Values as Evolution writes them: a number may be an int, a string or a Long of three parts.

Every reader takes any JSON value and answers None, or its fallback, for what it cannot mean.
"""

import re
from datetime import UTC, datetime
from typing import cast

from chatsync.providers.body import JsonObject

_NUMBER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
# The seconds of the years 2000 to 2100: outside them a timestamp is damage, not a time.
_SECONDS = range(946_684_800, 4_102_444_800)
# Longer ones are damage, and would not fit into an index of the database.
_MAX_ID_LENGTH = 500


class Unusable(ValueError):
    """An item that lacks what every item of its kind has; the message says what."""


def text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def mapping(value: object) -> JsonObject:
    """The object, or an empty one where there is none."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def number(value: object) -> int | None:
    """A whole number of 64 bits, however it is written."""
    match value:
        case bool():
            return None
        case int():
            found = value
        case str():
            found = int(value) if _NUMBER.fullmatch(value) else None
        case {"low": int(low), "high": int(high)}:
            found = (high << 32) | (low & 0xFFFF_FFFF) if abs(high) < 2**32 else None
        case float():
            found = int(value) if value.is_integer() else None
        case _:
            found = None
    return found if found is not None and abs(found) < 2**63 else None


def flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def link(value: object) -> str | None:
    """An address on the web; never a data URL, which would hold the medium itself."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def moment(value: object, fallback: datetime) -> datetime:
    """A time in seconds or milliseconds since 1970, or the fallback for damage."""
    found = value if type(value) is int else number(value)
    if found is None:
        return fallback
    if found in _SECONDS:
        return datetime.fromtimestamp(found, UTC)
    seconds, milliseconds = divmod(found, 1000)
    if seconds not in _SECONDS:
        return fallback
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


def usable_id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_ID_LENGTH else None


def required_id(value: object, whose: str) -> str:
    """The id of an item; raises Unusable where there is none."""
    found = usable_id(value)
    if found is None:
        raise Unusable(f"{whose} without a usable id")
    return found

"""Single facts out of JSON that nobody vouches for.

What is of another type counts as absent. Raises Unusable where an item cannot be without a fact.
"""

from datetime import UTC, datetime
from typing import TypeGuard

from chatsync.providers.body import JsonObject

# Seconds of the years 2000 to 2100: outside them a timestamp is damage, not a time.
_FIRST_SECOND = 946_684_800
_LAST_SECOND = 4_102_444_799
# Meta's ids have some 60 characters; an index of PostgreSQL holds 2,700 bytes.
_MAX_ID_LENGTH = 500


class Unusable(ValueError):
    """An item that lacks what every item of its kind has."""


def is_object(value: object) -> TypeGuard[JsonObject]:
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def object_of(value: object) -> JsonObject:
    return value if is_object(value) else {}


def objects_of(value: object) -> list[JsonObject]:
    return [item for item in value if is_object(item)] if is_list(value) else []


def id_of(raw: JsonObject, key: str = "id") -> str:
    provider_id = raw.get(key)
    if not isinstance(provider_id, str) or not 0 < len(provider_id) <= _MAX_ID_LENGTH:
        raise Unusable(f"no usable {key}")
    return provider_id


def time_of(timestamp: object) -> datetime:
    """The moment of a timestamp in seconds, which comes as a text or as an integer."""
    try:
        seconds = int(timestamp) if isinstance(timestamp, (str, int)) else 0
    except ValueError:
        seconds = 0
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise Unusable("no usable timestamp")
    return datetime.fromtimestamp(seconds, UTC)


def shown(value: object) -> str:
    """A value of any size, for a reason that people read."""
    return ascii(value)[:100]


def error_of(raw: JsonObject) -> JsonObject:
    details = text_of(object_of(raw.get("error_data")).get("details"))
    return {
        "code": raw.get("code"),
        "title": text_of(raw.get("title")) or text_of(raw.get("message")),
        "details": details or text_of(raw.get("details")),
    }


def camel_case(value: object) -> object:
    """A value of the provider's with the keys as our wire writes them, at every depth."""
    if is_object(value):
        return {_camel_name(key): camel_case(item) for key, item in value.items()}
    return [camel_case(item) for item in value] if is_list(value) else value


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)

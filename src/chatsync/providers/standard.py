"""Senders that follow Standard Webhooks: verify, parse. Pure functions.

The signature is by https://github.com/standard-webhooks/standard-webhooks (spec, "Signature
scheme"); the body is chatsync's own: {type, contact, message}. Must never trust a body whose
signature was not checked against its raw bytes.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias, cast, get_args

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import (
    Contact,
    Direction,
    Identity,
    Item,
    Malformed,
    Message,
    MessageStatus,
    MessageType,
    Source,
    Status,
)

NAME = "standard"
TOLERANCE_SECONDS = 300  # The spec's libraries allow the same, both ways.

_Step: TypeAlias = Literal["PENDING", "SENT", "DELIVERED", "READ", "PLAYED", "FAILED"]
_STEPS: Final[dict[str, _Step]] = {step.lower(): step for step in get_args(_Step)}
_TYPES: Final[dict[str, MessageType]] = {kind: kind for kind in get_args(MessageType)}
_DIGITS = re.compile(r"[0-9]{1,17}", re.ASCII)
# E.164: at most 15 digits, and no country's code begins with 0.
_E164 = re.compile(r"\+?([1-9][0-9]{6,14})", re.ASCII)
# Seconds of the years 2000 to 2100: outside them a timestamp is damage, not a time.
_SECONDS = range(946_684_800, 4_102_444_800)
_MEDIA: Final[dict[str, type | tuple[type, ...]]] = {
    "id": str,
    "mime": str,
    "sha256": str,
    "url": str,
    "filename": str,
    "size": int,
    "seconds": (int, float),
    "voice": bool,
    "animated": bool,
}


class _Unusable(ValueError):
    """A body that lacks what every body of its type has."""


def signature_fits(
    headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: datetime
) -> bool:
    """Check `webhook-signature` over id, timestamp and raw body against any of the secrets.

    `headers` are looked up by lower-case names. Versions other than v1 are passed over.
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not (webhook_id and webhook_id.isascii() and given.isascii()):
        return False
    if not _DIGITS.fullmatch(timestamp):
        return False
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signatures = [each for each in given.split(" ") if each.startswith("v1,")]
    # Anybody can sign with an empty key.
    usable = [secret for secret in secrets if _key(secret)]
    expected = [sign(webhook_id, timestamp, body, secret) for secret in usable]
    fits = [hmac.compare_digest(one, other) for one in signatures for other in expected]
    return any(fits)


def sign(webhook_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """One signature as a sender would write it; also for simulators and tests."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def parse(delivery: JsonObject, source: Source) -> list[Item]:
    """The one item of a delivery."""
    try:
        match delivery.get("type"):
            case "message":
                return [_message(delivery, source)]
            case "status":
                return [_status(_mapping(delivery.get("message")), source)]
            case _:
                raise _Unusable("an unknown type of delivery")
    except _Unusable as error:
        return [Malformed(str(error), delivery)]


def _key(secret: str) -> bytes:
    """A secret is base64 behind `whsec_`, bare base64, or else a text used as it is."""
    encoded = secret.removeprefix("whsec_")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return encoded.encode(errors="surrogatepass")


def _message(delivery: JsonObject, source: Source) -> Message:
    raw = _mapping(delivery.get("message"))
    said, content = _text(raw.get("type")), _text(raw.get("text"))
    kind = _TYPES.get(said.upper()) if said else ("TEXT" if content else None)
    if kind == "TEXT" and content is None:
        raise _Unusable("a text message without text")
    direction = _direction(raw.get("direction"))
    metadata = _metadata(raw)
    if kind is None:
        metadata["providerType"] = said and said[:100]
    return Message(
        provider_message_id=_id(raw.get("id"), "a message"),
        contact=_contact(_mapping(delivery.get("contact")), source),
        direction=direction,
        type=kind or "UNSUPPORTED",
        content=content,
        occurred_at=_time(raw.get("timestamp"), source.received_at),
        origin="echo" if direction == "OUTBOUND" else "live",
        metadata=metadata,
        reply_to=_text(raw.get("replyTo")),
        status=_message_status(raw.get("status")) if direction == "OUTBOUND" else None,
    )


def _status(raw: JsonObject, source: Source) -> Status:
    step = _step(raw.get("status"))
    if step is None:
        raise _Unusable("an unknown status")
    return Status(
        _id(raw.get("id"), "a status"),
        step,
        _time(raw.get("timestamp"), source.received_at),
        _error(raw.get("error")),
    )


def _contact(raw: JsonObject, source: Source) -> Contact:
    external = Identity(f"inbox:{source.inbox_id}", "external", _id(raw.get("id"), "a contact"))
    written = re.sub(r"[\s().-]", "", _text(raw.get("phoneNumber")) or "")
    match = _E164.fullmatch(written)
    if match is None:
        return Contact((external,), _text(raw.get("name")))
    phone = Identity("tenant", "phone", match[1])
    return Contact((external, phone), _text(raw.get("name")), match[1])


def _direction(value: object) -> Direction:
    match value:
        case None | "inbound" | "INBOUND":
            return "INBOUND"
        case "outbound" | "OUTBOUND":
            return "OUTBOUND"
        case _:
            raise _Unusable("an unknown direction")


def _metadata(raw: JsonObject) -> JsonObject:
    metadata: JsonObject = {}
    media = _mapping(raw.get("media"))
    described = {
        name: media[name]
        for name, kind in _MEDIA.items()
        # A bool is an int to Python, but no size.
        if isinstance(media.get(name), kind) and (kind is bool or not isinstance(media[name], bool))
    }
    # A data URL would bring the medium itself into every event.
    if not described.get("url", "https://").startswith(("https://", "http://")):
        del described["url"]
    if described:
        metadata["media"] = described
    place = _mapping(raw.get("location"))
    if place:
        names = ("latitude", "longitude", "name", "address", "url")
        metadata["location"] = {name: place[name] for name in names if _is_plain(place.get(name))}
    return metadata


def _message_status(value: object) -> MessageStatus:
    step = _step(value)
    return "READ" if step == "PLAYED" else step or "SENT"


def _step(value: object) -> _Step | None:
    return _STEPS.get(value.lower()) if isinstance(value, str) else None


def _error(value: object) -> JsonObject | None:
    if isinstance(value, str):
        return {"code": None, "title": value, "details": None}
    raw = _mapping(value)
    if not raw:
        return None
    return {
        "code": raw.get("code"),
        "title": raw.get("title") or raw.get("message"),
        "details": raw.get("details"),
    }


def _time(value: object, fallback: datetime) -> datetime:
    """RFC 3339, or seconds or milliseconds since 1970; the fallback for anything else."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        try:
            said = datetime.fromisoformat(value)
        except ValueError:
            return fallback
        # A time without an offset means another moment everywhere.
        is_usable = said.tzinfo is not None and 2000 <= said.year < 2100
        return said.astimezone(UTC) if is_usable else fallback
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return fallback
    number = int(value)
    seconds, milliseconds = (number, 0) if number in _SECONDS else divmod(number, 1000)
    if seconds not in _SECONDS:
        return fallback
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)


def _id(value: object, whose: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= 500:
        return value
    raise _Unusable(f"{whose} without a usable id")


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _mapping(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

"""WhatsApp Cloud API: verify, split by inbox, parse. Pure functions over bytes.

Facts from Meta's "Webhooks" and "Components" pages for the Cloud API. Must never trust a body
whose signature was not checked against its raw bytes: Meta escapes characters that a second
encoding would not.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import (
    Contact,
    Identity,
    Item,
    Malformed,
    Message,
    Status,
)

NAME = "whatsapp_cloud"

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)
# A business-scoped user id: a country, a dot, at most 128 letters and digits; ENT marks a parent.
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", re.ASCII)
_STATUSES: dict[str, Literal["SENT", "DELIVERED", "READ", "FAILED"]] = {
    "sent": "SENT",
    "delivered": "DELIVERED",
    "read": "READ",
    "played": "READ",
    "failed": "FAILED",
}
# Seconds of the years 2000 to 2100: outside them a timestamp is damage, not a time.
_TIMES = range(946_684_800, 4_102_444_800)


def signature_fits(header: str | None, body: bytes, secrets: Iterable[str]) -> bool:
    """Check `X-Hub-Signature-256` over the raw body against any of the app secrets."""
    match = _SIGNATURE.fullmatch(header) if header else None
    if match is None:
        return False
    given = bytes.fromhex(match[1])
    fits = [
        hmac.compare_digest(given, hmac.digest(secret.encode(), body, hashlib.sha256))
        for secret in secrets
    ]
    return any(fits)


def sign(body: bytes, secret: str) -> str:
    """The header value that Meta would send; for simulators and tests."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """The changes of a delivery that are for one inbox, found by number or else by account."""

    phone_number_id: str | None
    account_id: str | None
    entries: list[JsonObject]

    def body(self) -> bytes:
        return json.dumps({"entry": self.entries}, separators=(",", ":")).encode()


def split(delivery: JsonObject) -> list[Part]:
    """Group the changes of a delivery by the inbox they name, in order.

    A delivery without a single change is one part that names nobody.
    """
    parts: dict[tuple[str | None, str | None], Part] = {}
    for entry in _objects(delivery.get("entry")):
        account_id = _text(entry.get("id"))
        for change in _objects(entry.get("changes")):
            number = _phone_number_id(change)
            key = (number, None) if number else (None, account_id)
            part = parts.setdefault(key, Part(number, account_id, []))
            part.entries.append({"id": account_id, "changes": [change]})
    return list(parts.values()) or [Part(None, None, [])]


def parse(delivery: JsonObject, *, account_id: str | None) -> list[Item]:
    """The items of a delivery that was split by inbox, in order."""
    items: list[Item] = []
    for entry in _objects(delivery.get("entry")):
        for change in _objects(entry.get("changes")):
            scope = f"portfolio:{account_id or _text(entry.get('id')) or ''}"
            items.extend(_parse_change(change, scope))
    return items


def _parse_change(change: JsonObject, scope: str) -> Iterator[Item]:
    value = change.get("value")
    if not isinstance(value, dict):
        yield Malformed("a change without a value", change)
        return
    value = cast(JsonObject, value)
    people = [_Person.of(contact) for contact in _objects(value.get("contacts"))]
    parsers: tuple[tuple[str, _Parser], ...] = (
        ("messages", _parse_message),
        ("message_echoes", _parse_echo),
        ("statuses", _parse_status),
    )
    found = False
    for name, parser in parsers:
        for raw in _list(value.get(name)):
            found = True
            yield _guarded(parser, raw, people, scope)
    if not found:
        yield Malformed(f"nothing known in a change of the field {change.get('field')!r}", change)


@dataclass(frozen=True, slots=True)
class _Person:
    """An entry of `contacts[]`: who takes part in the messages of a change."""

    wa_id: str | None
    user_id: str | None
    parent_user_id: str | None
    name: str | None

    @classmethod
    def of(cls, raw: JsonObject) -> "_Person":
        profile = raw.get("profile")
        name = _text(cast(JsonObject, profile).get("name")) if isinstance(profile, dict) else None
        return cls(
            _text(raw.get("wa_id")),
            _text(raw.get("user_id")),
            _text(raw.get("parent_user_id")),
            name,
        )


_Parser: TypeAlias = Any


class _Unusable(ValueError):
    """An item that lacks what every item of its kind has."""


def _guarded(parser: _Parser, raw: object, people: list[_Person], scope: str) -> Item:
    if not isinstance(raw, dict):
        return Malformed("not an object", raw)
    try:
        return parser(cast(JsonObject, raw), people, scope)
    except _Unusable as error:
        return Malformed(str(error), cast(object, raw))


def _parse_message(raw: JsonObject, people: list[_Person], scope: str) -> Item:
    names = [
        _text(raw.get("from")),
        _text(raw.get("from_user_id")),
        _text(raw.get("from_parent_user_id")),
    ]
    return _message(raw, _contact(names, people, scope), "INBOUND", "live")


def _parse_echo(raw: JsonObject, people: list[_Person], scope: str) -> Item:
    names = [
        _text(raw.get("to")),
        _text(raw.get("to_user_id")),
        _text(raw.get("to_parent_user_id")),
    ]
    return _message(raw, _contact(names, people, scope), "OUTBOUND", "echo")


def _message(
    raw: JsonObject,
    contact: Contact,
    direction: Literal["INBOUND", "OUTBOUND"],
    origin: Literal["live", "echo"],
) -> Message:
    content: str | None = None
    kind = _text(raw.get("type"))
    metadata: JsonObject = {}
    if kind == "text":
        text = raw.get("text")
        content = _text(cast(JsonObject, text).get("body")) if isinstance(text, dict) else None
        if content is None:
            raise _Unusable("a text message without text.body")
    else:
        metadata["providerType"] = kind
    return Message(
        provider_message_id=_id(raw),
        contact=contact,
        direction=direction,
        type="TEXT" if kind == "text" else "UNSUPPORTED",
        content=content,
        occurred_at=_time(raw),
        origin=origin,
        metadata=metadata,
        reply_to=_reply_to(raw),
    )


def _parse_status(raw: JsonObject, _people: list[_Person], _scope: str) -> Item:
    status = _STATUSES.get(_text(raw.get("status")) or "")
    if status is None:
        raise _Unusable(f"unknown status {raw.get('status')!r}")
    errors = _objects(raw.get("errors"))
    return Status(_id(raw), status, _time(raw), _error(errors[0]) if errors else None)


def _error(raw: JsonObject) -> JsonObject:
    details = raw.get("error_data")
    return {
        "code": raw.get("code"),
        "title": raw.get("title") or raw.get("message"),
        "details": cast(JsonObject, details).get("details") if isinstance(details, dict) else None,
    }


def _contact(names: list[str | None], people: list[_Person], scope: str) -> Contact:
    """Join what an item and `contacts[]` say of one person. A single entry needs no match."""
    given = {name for name in names if name}
    person = next(
        (p for p in people if given & {p.wa_id, p.user_id, p.parent_user_id}),
        people[0] if len(people) == 1 else None,
    )
    values = [
        *names,
        person and person.wa_id,
        person and person.user_id,
        person and person.parent_user_id,
    ]
    identities: dict[Identity, None] = {}
    for value in values:
        if value and value.strip("+"):
            identities[_identity(value, scope)] = None
    if not identities:
        raise _Unusable("a message from nobody")
    phone = next((i.value for i in identities if i.kind == "phone"), None)
    return Contact(tuple(identities), person.name if person else None, phone)


def _identity(value: str, scope: str) -> Identity:
    match = _BSUID.fullmatch(value)
    if match is None:
        return Identity("tenant", "phone", value.lstrip("+"))
    return Identity(scope, "parent_bsuid" if match[1] else "bsuid", value)


def _reply_to(raw: JsonObject) -> str | None:
    context = raw.get("context")
    # A context without an id marks a forwarded message, not a reply.
    return _text(cast(JsonObject, context).get("id")) if isinstance(context, dict) else None


def _id(raw: JsonObject) -> str:
    provider_id = _text(raw.get("id"))
    if provider_id is None or len(provider_id) > 500:
        raise _Unusable("no usable id")
    return provider_id


def _time(raw: JsonObject) -> datetime:
    timestamp = raw.get("timestamp")
    try:
        seconds = int(cast(str, timestamp)) if isinstance(timestamp, (str, int)) else 0
    except ValueError:
        seconds = 0
    if seconds not in _TIMES:
        raise _Unusable("no usable timestamp")
    return datetime.fromtimestamp(seconds, UTC)


def _phone_number_id(change: JsonObject) -> str | None:
    value = change.get("value")
    metadata = cast(JsonObject, value).get("metadata") if isinstance(value, dict) else None
    return (
        _text(cast(JsonObject, metadata).get("phone_number_id"))
        if isinstance(metadata, dict)
        else None
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _objects(value: object) -> list[JsonObject]:
    return [cast(JsonObject, item) for item in _list(value) if isinstance(item, dict)]

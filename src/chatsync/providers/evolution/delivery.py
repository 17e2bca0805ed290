"""A delivery: its event, its instance, and its items, each read on its own.

Every item yields something: what cannot be read becomes a Malformed and takes nothing with it.
"""

from collections.abc import Callable
from typing import TypeAlias, cast

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution import changes, connection, contacts, messages
from chatsync.providers.evolution.calls import call
from chatsync.providers.evolution.credentials import redacted
from chatsync.providers.evolution.people import Envelope, phone
from chatsync.providers.evolution.values import Unusable, mapping, text
from chatsync.providers.inbound import Ignored, Item, Malformed, Source

NAME = "evolution"

_Reader: TypeAlias = Callable[[JsonObject, Envelope], Item]
# By event: what reads one item, and the key under which some versions put the list of items.
_READERS: dict[str, tuple[_Reader, str]] = {
    "messages.upsert": (messages.live, "messages"),
    "messages.set": (messages.history, "messages"),
    "send.message": (messages.sent, "messages"),
    "messages.update": (changes.update, "messages"),
    "messages.delete": (changes.delete, "keys"),
    "messages.edited": (changes.edited, "messages"),
    "send.message.update": (changes.edited, "messages"),
    "contacts.set": (contacts.listed, "contacts"),
    "contacts.upsert": (contacts.listed, "contacts"),
    "contacts.update": (contacts.changed, "contacts"),
    "groups.upsert": (contacts.changed, "groups"),
    "groups.update": (contacts.changed, "groups"),
    "group.update": (contacts.changed, "groups"),
    "connection.update": (connection.update, "updates"),
    "qrcode.updated": (connection.qrcode, "qrcodes"),
    "call": (call, "calls"),
}
# Chats carry counters of the provider's own; presence and labels are not shown.
_MEANINGLESS = frozenset(
    [
        "application.startup",
        "chats.delete",
        "chats.set",
        "chats.update",
        "chats.upsert",
        "creds.update",
        "error",
        "group.participants.update",
        "instance.create",
        "instance.delete",
        "labels.association",
        "labels.edit",
        "logout.instance",
        "messaging.history.set",
        "presence.update",
        "remove.instance",
        "status.instance",
        "typebot.change.status",
        "typebot.start",
    ]
)


def event_name(name: str) -> str:
    """One spelling for `MESSAGES_UPSERT`, `messages-upsert` and `messages.upsert`."""
    return name.strip().lower().replace("_", ".").replace("-", ".")


def is_meaningless(delivery: JsonObject, event: str) -> bool:
    """Whether a delivery is of an event that says nothing to us; `event` is what its path names."""
    return event_name(text(delivery.get("event")) or event) in _MEANINGLESS


def instance(delivery: JsonObject) -> str | None:
    """The instance that sent a delivery; the error webhook names none."""
    return text(delivery.get("instance"))


def parse(delivery: JsonObject, source: Source, event: str | None = None) -> list[Item]:
    """The items of a delivery, in order. `event` is the URL's, for a body that names none."""
    name = event_name(text(delivery.get("event")) or event or "")
    known = _READERS.get(name)
    if known is None:
        if name in _MEANINGLESS:
            return [Ignored(f"event {name}")]
        return [Malformed(f"unknown event {name[:100]!r}", redacted(delivery))]
    reader, plural = known
    own_number = phone(delivery.get("sender"))
    envelope = Envelope(f"inbox:{source.inbox_id}", source.received_at, own_number)
    data: object = delivery.get("data")
    inner = mapping(data)
    if "key" not in inner and isinstance(inner.get(plural), list):
        data = inner[plural]
    if isinstance(data, list):
        items = [_guarded(reader, raw, envelope) for raw in cast(list[object], data)]
        return items or [Ignored(f"nothing in {name}")]
    return [_guarded(reader, data, envelope)]


def _guarded(reader: _Reader, raw: object, envelope: Envelope) -> Item:
    if not isinstance(raw, dict):
        return Malformed("not an object", raw)
    try:
        return reader(cast(JsonObject, raw), envelope)
    except Unusable as error:
        return Malformed(str(error), cast(object, raw))

"""What happened to a message: its status, its deletion, its edit.

The names mislead: status DELETED in messages.update is no deletion, messages.edited may be one,
and the `id` of messages.delete is the message's only where there is no `key`.
"""

import hashlib
from datetime import datetime
from typing import Final, Literal, TypeAlias

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution import content
from chatsync.providers.evolution.people import Envelope, is_no_chat
from chatsync.providers.evolution.values import (
    Unusable,
    mapping,
    moment,
    number,
    required_id,
    text,
)
from chatsync.providers.inbound import Edit, Ignored, Item, ReadByBusiness, Revoke, Status

Step: TypeAlias = Literal["PENDING", "SENT", "DELIVERED", "READ", "PLAYED", "FAILED"]
# Beside WhatsApp's own names and numbers, those of instances that stand on Meta's API.
_STATUSES: Final[dict[str, Step]] = {
    "ERROR": "FAILED",
    "0": "FAILED",
    "FAILED": "FAILED",
    "PENDING": "PENDING",
    "1": "PENDING",
    "SERVER_ACK": "SENT",
    "2": "SENT",
    "SENT": "SENT",
    "DELIVERY_ACK": "DELIVERED",
    "3": "DELIVERED",
    "DELIVERED": "DELIVERED",
    "READ": "READ",
    "4": "READ",
    "PLAYED": "PLAYED",
    "5": "PLAYED",
}


def status_of(value: object) -> Step | None:
    return _STATUSES.get(_word(value))


def update(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of messages.update, which has no timestamp."""
    key = mapping(raw.get("key"))
    if (ignored := _outside_chats(raw, key)) is not None:
        return ignored
    said = raw.get("status")
    if said is None:
        said = mapping(raw.get("update")).get("status")
    if said is None:
        return Ignored("an update without a status")
    if _word(said) == "DELETED":
        return Ignored("status DELETED in messages.update is not a deletion")
    status = status_of(said)
    if status is None:
        raise Unusable("an unknown status")
    # `messageId` is the id of a row in Evolution's own database.
    target = required_id(raw.get("keyId") or key.get("id"), "a status")
    if raw.get("fromMe", key.get("fromMe")) not in (False, "false"):
        return Status(target, status, envelope.received_at)
    if status in ("READ", "PLAYED"):
        return ReadByBusiness(target, envelope.received_at)
    return Ignored("a status of a message that is not ours")


def delete(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of messages.delete. With a `key`, `id` is a row in Evolution's own database."""
    key = mapping(raw.get("key"))
    if (ignored := _outside_chats(raw, key)) is not None:
        return ignored
    if raw.get("all") is True:
        return Ignored("a chat was cleared on the phone")
    target = required_id(key.get("id") if key else raw.get("id"), "a deletion")
    return _revoke(target, envelope.received_at)


def edited(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of messages.edited: a protocol message, bare or inside a message."""
    found = content.found(raw.get("message"), None)
    said = mapping(found[1]) if found is not None and found[0] == "protocolMessage" else raw
    return protocol(said, envelope.received_at)


def protocol(said: JsonObject, fallback: datetime) -> Item:
    """A message about a message: an edit, a deletion, or what only phones need."""
    key = mapping(said.get("key"))
    if (ignored := _outside_chats(said, key)) is not None:
        return ignored
    kind = _word(said.get("type"))
    if kind in ("REVOKE", "0"):
        target = required_id(key.get("id"), "a deletion")
        return _revoke(target, moment(said.get("timestampMs"), fallback))
    if kind in ("MESSAGE_EDIT", "14") or (not kind and "editedMessage" in said):
        return _edit(required_id(key.get("id"), "an edit"), said, fallback)
    return Ignored(f"protocol message {kind[:100] or 'without a type'}")


def _edit(target: str, said: JsonObject, fallback: datetime) -> Item:
    found = content.found(said.get("editedMessage"), None)
    if found is None:
        raise Unusable("an edit without content")
    new = content.read(*found)
    if new.type == "UNSUPPORTED":
        raise Unusable("an edit of an unknown type")
    mentions = content.circumstances(mapping(found[1]).get("contextInfo")).get("mentions")
    # Without a time, the same text twice is the same edit seen twice.
    stamp = (
        number(said.get("timestampMs"))
        or hashlib.sha256((new.text or "").encode(errors="surrogatepass")).hexdigest()
    )
    occurred_at = moment(said.get("timestampMs"), fallback)
    return Edit(
        f"e:{target}:{stamp}",
        target,
        new.text,
        occurred_at,
        {"mentions": mentions} if mentions else {},
    )


def _revoke(target: str, occurred_at: datetime) -> Revoke:
    # A message is deleted once, whichever of the events tells.
    return Revoke(f"r:{target}", target, occurred_at)


def _outside_chats(raw: JsonObject, key: JsonObject) -> Ignored | None:
    jid = text(raw.get("remoteJid")) or text(key.get("remoteJid")) or ""
    return Ignored(f"no chat: @{jid.rpartition('@')[2]}") if is_no_chat(jid) else None


def _word(value: object) -> str:
    """A name in capitals, or the digits of a number."""
    if isinstance(value, str):
        return value.upper()
    found = number(value)
    return "" if found is None else str(found)

"""Messages: who said what to whom, and when. Also reactions, which come in the same shape.

Our own messages come here too, also those that were sent by API: they are told apart by `fromMe`,
and joined with what we know by their id.
"""

from datetime import datetime

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution import content
from chatsync.providers.evolution.changes import protocol, status_of
from chatsync.providers.evolution.people import (
    Envelope,
    group,
    is_group,
    is_no_chat,
    is_ours,
    participant,
    partner,
)
from chatsync.providers.evolution.values import (
    Unusable,
    mapping,
    moment,
    required_id,
    text,
    usable_id,
)
from chatsync.providers.inbound import (
    Contact,
    Ignored,
    Item,
    Message,
    MessageStatus,
    Origin,
    Reaction,
)

# Known, and nothing that was said: a pin, a note that an album follows.
_NOTHING_SAID = frozenset({"albumMessage", "keepInChatMessage", "pinInChatMessage"})


def live(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of messages.upsert: what was just said, by either side."""
    key = mapping(raw.get("key"))
    return _read(raw, key, envelope, "echo" if is_ours(key) else "live")


def history(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of messages.set: what was said before the inbox was connected."""
    return _read(raw, mapping(raw.get("key")), envelope, "history")


def sent(raw: JsonObject, envelope: Envelope) -> Item:
    """One item of send.message: what was sent by API, perhaps by us."""
    return _read(raw, {**mapping(raw.get("key")), "fromMe": True}, envelope, "api")


def _read(raw: JsonObject, key: JsonObject, envelope: Envelope, origin: Origin) -> Item:
    jid = text(key.get("remoteJid"))
    if jid is None:
        raise Unusable("a message without remoteJid")
    if is_no_chat(jid):
        return Ignored(f"no chat: @{jid.rpartition('@')[2]}")
    said = raw.get("message")
    found = content.found(said, raw.get("messageType"))
    if found is None:
        return Ignored("no content")
    kind, body = found
    occurred_at = moment(raw.get("messageTimestamp"), envelope.received_at)
    if kind == "protocolMessage":
        return protocol(mapping(body), occurred_at)
    if kind in _NOTHING_SAID:
        return Ignored(f"{kind} says nothing")
    contact = _author(raw, key, jid, envelope)
    if kind == "reactionMessage":
        return _reaction(mapping(body), key, contact, occurred_at)
    told = content.read(kind, body, media_url=mapping(said).get("mediaUrl"))
    if told.type == "TEXT" and told.text is None:
        return Ignored("no content")
    outbound = is_ours(key)
    return Message(
        required_id(key.get("id"), "a message"),
        contact,
        "OUTBOUND" if outbound else "INBOUND",
        told.type,
        told.text,
        occurred_at,
        origin,
        told.metadata,
        _context(raw, body, told.metadata),
        group(jid, envelope) if is_group(jid) else None,
        _status(raw.get("status"), origin) if outbound else None,
    )


def _author(raw: JsonObject, key: JsonObject, jid: str, envelope: Envelope) -> Contact | None:
    """The other party of a chat, or the author in a group, where None is us."""
    outbound = is_ours(key)
    if is_group(jid):
        if group(jid, envelope) is None:
            raise Unusable("a message in a group without a name")
        contact = None if outbound else participant(raw, key, envelope)
    else:
        # What we send carries the business's own name.
        contact = partner(key, envelope, None if outbound else text(raw.get("pushName")))
    if contact is None and not (outbound and is_group(jid)):
        raise Unusable("a message with nobody")
    return contact


def _reaction(
    body: JsonObject, key: JsonObject, contact: Contact | None, occurred_at: datetime
) -> Reaction:
    outbound = is_ours(key)
    return Reaction(
        required_id(key.get("id"), "a reaction"),
        required_id(mapping(body.get("key")).get("id"), "the target of a reaction"),
        None if outbound else contact,
        "OUTBOUND" if outbound else "INBOUND",
        text(body.get("text")),
        occurred_at,
        in_group=is_group(text(key.get("remoteJid")) or ""),
    )


def _context(raw: JsonObject, body: object, metadata: JsonObject) -> str | None:
    """What a message answers. Newer versions move the context out of the content."""
    inner = mapping(body).get("contextInfo")
    outer = raw.get("contextInfo")
    if inner is None and outer is None:
        return None
    reply_to = None
    for context in (mapping(outer), mapping(inner)):
        reply_to = reply_to or usable_id(context.get("stanzaId"))
        metadata.update(content.circumstances(context))
    return reply_to


def _status(said: object, origin: Origin) -> MessageStatus:
    status = status_of(said)
    if status is None:
        return "PENDING" if origin == "api" else "SENT"
    return "READ" if status == "PLAYED" else status

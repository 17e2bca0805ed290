"""Who takes part: addresses of WhatsApp (jids) as identities and contacts.

A person has two names, a phone number and a lid; where an item gives both, both are learned.
Must never give a contact our own number: that would join all contacts into one.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution.values import text
from chatsync.providers.inbound import Contact, Identity

# Meta-backed instances write numbers without a server.
_PHONE_SERVERS = frozenset({"s.whatsapp.net", "c.us", "hosted", ""})
_LID_SERVERS = frozenset({"lid", "hosted.lid"})
_NO_CHATS = frozenset({"broadcast", "newsletter", "bot"})
# A number, then an agent and a device: 5511990000001_1:12. No number has more than 20 digits.
_USER = re.compile(r"\+?([0-9]{1,20})(?:[._][0-9]+)?(?::[0-9]+)?", re.ASCII)
# Old groups are named by their founder's number and a time.
_GROUP = re.compile(r"[0-9-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is known of every item of a delivery. `own_number` is the inbox's own phone."""

    scope: str
    received_at: datetime
    own_number: str | None


def is_no_chat(jid: str) -> bool:
    """Say whether an address is a story, a newsletter, a broadcast list or a bot."""
    return jid.rpartition("@")[2] in _NO_CHATS


def is_group(jid: str) -> bool:
    return jid.endswith("@g.us")


def phone(jid: object) -> str | None:
    """The digits of an address that is a phone number."""
    if not isinstance(jid, str):
        return None
    user, _, server = jid.partition("@")
    match = _USER.fullmatch(user) if server in _PHONE_SERVERS else None
    return match[1] if match else None


def group(jid: str, envelope: Envelope, name: str | None = None) -> Contact | None:
    """The group of an address; None where it is no group's."""
    if not is_group(jid) or not _GROUP.fullmatch(jid[: -len("@g.us")]):
        return None
    return Contact((Identity(envelope.scope, "group", jid),), name)


def person(jids: list[object], envelope: Envelope, name: str | None = None) -> Contact | None:
    """The person whom all these addresses name; None where none is a person's.

    The first address is the person's for sure. The others are sometimes our own.
    """
    known = None
    identities: list[Identity] = []
    for position, jid in enumerate(jids):
        if not isinstance(jid, str) or not jid or (jid == jids[0] and position):
            continue
        identity = _identity(jid, envelope.scope)
        if identity is None or identity in identities:
            continue
        if identity.kind == "phone":
            if position and identity.value == envelope.own_number:
                continue
            known = known or identity.value
        identities.append(identity)
    return Contact(tuple(identities), name, known) if identities else None


def partner(key: JsonObject, envelope: Envelope, name: str | None) -> Contact | None:
    """The other party of a chat with one person."""
    jids: list[object] = [key.get("remoteJid"), key.get("remoteJidAlt")]
    # The sender of what was sent by us is us.
    if not is_ours(key):
        jids += [key.get("senderPn"), key.get("senderLid")]
    return person(jids, envelope, name)


def participant(raw: JsonObject, key: JsonObject, envelope: Envelope) -> Contact | None:
    """The author of a message in a group."""
    first = text(key.get("participant")) or text(raw.get("participant"))
    others = [key.get(name) for name in ("participantAlt", "participantPn", "participantLid")]
    return person([jid for jid in (first, *others) if jid], envelope, text(raw.get("pushName")))


def is_ours(key: JsonObject) -> bool:
    return key.get("fromMe") in (True, "true")


def _identity(jid: str, scope: str) -> Identity | None:
    user, _, server = jid.partition("@")
    match = _USER.fullmatch(user)
    if match is None:
        return None
    if server in _PHONE_SERVERS:
        return Identity("tenant", "phone", match[1])
    return Identity(scope, "lid", match[1]) if server in _LID_SERVERS else None

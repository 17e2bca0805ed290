"""Contacts and groups as the phone lists them: names, pictures, and which names are one person.

Must never take a number for a name: Evolution fills an unknown `pushName` with the number.
"""

from dataclasses import replace

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution.people import Envelope, group, is_group, is_no_chat, person
from chatsync.providers.evolution.values import Unusable, link, text
from chatsync.providers.inbound import Contact, ContactChange, Ignored, Item

_NAMES = ("pushName", "subject", "name", "notify", "verifiedName")
_AVATARS = ("profilePicUrl", "profilePictureUrl", "imgUrl")


def listed(raw: JsonObject, envelope: Envelope) -> Item:
    """An entry of the phone's address book: its name is the business's word, not the contact's."""
    return _change(raw, envelope, is_own=False)


def changed(raw: JsonObject, envelope: Envelope) -> Item:
    """News of a contact, mostly because it wrote under a new name."""
    return _change(raw, envelope, is_own=True)


def _change(raw: JsonObject, envelope: Envelope, *, is_own: bool) -> Item:
    jid = text(raw.get("remoteJid")) or text(raw.get("id")) or ""
    if is_no_chat(jid):
        return Ignored(f"a contact that is no chat: @{jid.rpartition('@')[2]}")
    contact = _contact(jid, raw, envelope)
    if contact is None:
        raise Unusable("a contact without an address")
    if contact.phone_number is not None and contact.phone_number == envelope.own_number:
        return Ignored("our own number")
    avatar = next((url for key in _AVATARS if (url := link(raw.get(key)))), None)
    if avatar is not None:
        contact = replace(contact, profile={"avatarUrl": avatar})
    elif contact.name is None and len(contact.identities) == 1:
        return Ignored("nothing new of a contact")
    # A group has no other name than the one it gives itself.
    return ContactChange(contact, envelope.received_at, is_own=is_own or is_group(jid))


def _contact(jid: str, raw: JsonObject, envelope: Envelope) -> Contact | None:
    number = jid.partition("@")[0]
    names = (text(raw.get(key)) for key in _NAMES)
    name = next((name for name in names if name and name != number and name != jid), None)
    if is_group(jid):
        return group(jid, envelope, name)
    others = [raw.get(key) for key in ("remoteJidAlt", "phoneNumber", "lid")]
    return person([jid, *others], envelope, name)

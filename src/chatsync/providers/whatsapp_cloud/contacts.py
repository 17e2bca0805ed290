"""What is new about contacts without a message: preferences, changed ids, the address book."""

from datetime import datetime

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import ContactChange, Ignored, Item
from chatsync.providers.whatsapp_cloud.change import Change
from chatsync.providers.whatsapp_cloud.facts import (
    Unusable,
    is_object,
    object_of,
    shown,
    text_of,
    time_of,
)


def parse_preference(raw: JsonObject, change: Change) -> Item:
    """Whether a contact wants to hear of something: {category: "stop" or "resume"}."""
    category, choice = text_of(raw.get("category")), text_of(raw.get("value"))
    if category is None or choice is None:
        raise Unusable("a preference without a category or a value")
    contact = change.people.contact(raw.get("wa_id"), raw.get("user_id"), raw.get("parent_user_id"))
    return ContactChange(contact, _time(raw, change), preferences={category: choice})


def parse_user_id_update(raw: JsonObject, change: Change) -> Item:
    """A contact under its previous ids and the current ones."""
    ids = (*_both(raw.get("user_id")), *_both(raw.get("parent_user_id")))
    return ContactChange(change.people.contact(raw.get("wa_id"), *ids), _time(raw, change))


def parse_state_sync(raw: JsonObject, change: Change) -> Item:
    """An entry of the address book on the business's phone."""
    known = raw.get("contact")
    if not is_object(known):
        raise Unusable(f"nothing known of the address book's {shown(raw.get('type'))}")
    if raw.get("action") == "remove":
        return Ignored("removed from the address book, which holds nothing of the conversation")
    profile = {
        "name": text_of(known.get("full_name")) or known.get("first_name"),
        "username": known.get("username"),
    }
    ids = (known.get("phone_number"), known.get("user_id"), known.get("parent_user_id"))
    contact = change.people.contact_of(ids, {"profile": profile})
    occurred_at = _time(object_of(raw.get("metadata")), change)
    return ContactChange(contact, occurred_at, is_own=False)


def _both(value: object) -> tuple[object, ...]:
    return (value.get("previous"), value.get("current")) if is_object(value) else (value,)


def _time(raw: JsonObject, change: Change) -> datetime:
    timestamp = raw.get("timestamp")
    return change.occurred_at if timestamp is None else time_of(timestamp)

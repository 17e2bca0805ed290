"""Messages and what is done to them: reactions, edits and revocations, live, echoed or of old."""

from dataclasses import replace

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import (
    Contact,
    Direction,
    Edit,
    Item,
    Message,
    MessageStatus,
    Origin,
    Reaction,
    Revoke,
)
from chatsync.providers.whatsapp_cloud.change import Change
from chatsync.providers.whatsapp_cloud.content import content_of
from chatsync.providers.whatsapp_cloud.facts import (
    Unusable,
    camel_case,
    error_of,
    id_of,
    is_object,
    object_of,
    objects_of,
    text_of,
    time_of,
)

# What the Cloud API puts in the place of an id that it does not know.
_DUMMY_ID = "M0"
_MOVES = ("user_changed_number", "customer_changed_number", "user_changed_user_id")


def parse_message(raw: JsonObject, change: Change) -> Item:
    """A message to the business, or media of its history that come after their placeholders."""
    if change.raw.get("field") != "history":
        return said(raw, change, sender(raw, change), direction="INBOUND", origin="live")
    if change.is_business(raw.get("from")):
        return parse_echo(raw, change)
    return said(raw, change, sender(raw, change), direction="INBOUND", origin="history")


def parse_echo(raw: JsonObject, change: Change) -> Item:
    """A message that the business sent from its phone."""
    origin = "history" if change.raw.get("field") == "history" else "echo"
    return said(raw, change, recipient(raw, change), direction="OUTBOUND", origin=origin)


def sender(raw: JsonObject, change: Change) -> Contact:
    ids = (raw.get("from"), raw.get("from_user_id"), raw.get("from_parent_user_id"))
    return _moved(raw, change, ids) if raw.get("type") == "system" else change.people.contact(*ids)


def recipient(raw: JsonObject, change: Change) -> Contact | None:
    """To whom the business wrote: nobody in a group, which is the thread itself."""
    if text_of(raw.get("group_id")):
        return None
    return change.people.contact(raw.get("to"), raw.get("to_user_id"), raw.get("to_parent_user_id"))


def said(
    raw: JsonObject,
    change: Change,
    contact: Contact | None,
    *,
    direction: Direction,
    origin: Origin,
    status: MessageStatus | None = None,
) -> Item:
    """The item of a message object, whoever said it, wherever it came from."""
    kind = raw.get("type")
    if kind in ("reaction", "edit", "revoke") and is_object(act := raw.get(kind)):
        author = contact if direction == "INBOUND" else None
        return _act(kind, raw, act, author, direction)
    message_type, content, metadata = content_of(kind, raw)
    group_id = text_of(raw.get("group_id"))
    return Message(
        id_of(raw),
        contact,
        direction,
        message_type,
        content,
        time_of(raw.get("timestamp")),
        origin,
        metadata,
        _circumstances(raw, metadata),
        change.people.group(group_id) if group_id else None,
        status,
        kind == "media_placeholder",
    )


def _act(
    kind: str, raw: JsonObject, act: JsonObject, author: Contact | None, direction: Direction
) -> Item:
    """What is done to a message that was said before."""
    item_id, occurred_at = id_of(raw), time_of(raw.get("timestamp"))
    if kind == "reaction":
        emoji = act.get("emoji")
        if not isinstance(emoji, str | None):
            raise Unusable("an emoji that is not text")
        target_id = id_of(act, "message_id")
        in_group = text_of(raw.get("group_id")) is not None
        return Reaction(item_id, target_id, author, direction, emoji or None, occurred_at, in_group)
    target_id = id_of(act, "original_message_id")
    if kind == "revoke":
        return Revoke(item_id, target_id, occurred_at)
    message = object_of(act.get("message"))
    message_type, content, metadata = content_of(message.get("type"), message)
    if message_type == "UNSUPPORTED":
        # It would blank what was there.
        raise Unusable("an edit without a content that is known")
    return Edit(item_id, target_id, content, occurred_at, metadata)


def _circumstances(raw: JsonObject, metadata: JsonObject) -> str | None:
    """Add to the metadata what surrounds a message, and return the id that it replies to."""
    if "referral" in raw and is_object(raw["referral"]):
        metadata["referral"] = camel_case(raw["referral"])
    if "errors" in raw and (errors := objects_of(raw["errors"])):
        metadata["errors"] = [error_of(error) for error in errors]
    context = raw.get("context")
    if not is_object(context):
        return None
    if context.get("frequently_forwarded") is True:
        metadata["forwarded"] = metadata["frequentlyForwarded"] = True
    elif context.get("forwarded") is True:
        metadata["forwarded"] = True
    if is_object(product := context.get("referred_product")):
        metadata["referredProduct"] = camel_case(product)
    # A context without an id marks a forwarded message, not a reply.
    reply_to = text_of(context.get("id"))
    return None if reply_to == _DUMMY_ID else reply_to


def _moved(raw: JsonObject, change: Change, ids: tuple[object, ...]) -> Contact:
    """The contact of a system message, under its old names and the new ones."""
    notice = object_of(raw.get("system"))
    number = notice.get("wa_id") or notice.get("new_wa_id")
    names = (notice.get("previous_user_id"), notice.get("user_id"), notice.get("parent_user_id"))
    contact = change.people.contact(*ids, number, *names)
    phone = change.people.phone_number(number)
    if notice.get("type") not in _MOVES or phone in (None, contact.phone_number):
        return contact
    return replace(contact, phone_number=phone, is_new_number=True)

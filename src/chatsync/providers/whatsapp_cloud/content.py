"""What a message says, by its type: its text and what else is in it.

A type that is unknown, or without the body that its name promises, is UNSUPPORTED and keeps its
name: a message is shown as a placeholder rather than lost.
"""

from collections.abc import Callable
from typing import TypeAlias

from chatsync import strict_json
from chatsync.providers.body import MAX_DEPTH, JsonObject, clean
from chatsync.providers.inbound import MessageType
from chatsync.providers.whatsapp_cloud.facts import (
    camel_case,
    is_list,
    is_object,
    object_of,
    objects_of,
    text_of,
)

Content: TypeAlias = tuple[MessageType, str | None, JsonObject]


def content_of(kind: object, raw: JsonObject) -> Content:
    """The type, text and metadata of a message or of the new message in an edit."""
    if not isinstance(kind, str):
        return "UNSUPPORTED", None, {}
    reader = _READERS.get(kind)
    body = raw.get(kind)
    content = reader(body) if reader is not None and is_object(body) else None
    if content is None and kind == "contacts":
        content = _cards(body)
    return content or _unsupported(kind, body)


def _unsupported(kind: str, body: object) -> Content:
    metadata: JsonObject = {"providerType": kind}
    named = text_of(object_of(body).get("type")) if kind in ("unsupported", "interactive") else None
    # Of what it calls unsupported itself, the provider may name the type, or nobody can.
    if subtype := named or (kind if kind != "unsupported" else None):
        metadata["subtype"] = subtype
    return "UNSUPPORTED", None, metadata


def _text(body: JsonObject) -> Content | None:
    content = body.get("body")
    return ("TEXT", content or None, {}) if isinstance(content, str) else None


def _media(message_type: MessageType) -> Callable[[JsonObject], Content]:
    def read(body: JsonObject) -> Content:
        media = _file(body)
        return message_type, text_of(body.get("caption")), {"media": media} if media else {}

    return read


def _voice(body: JsonObject) -> Content:
    """An audio message under the name that recordings once had."""
    return "AUDIO", None, {"media": _file(body) | {"voice": True}}


def _file(body: JsonObject) -> JsonObject:
    media: JsonObject = {}
    for key, name in _FILE_TEXTS:
        if value := text_of(body.get(key)):
            media[name] = value
    for key, name in _FILE_NUMBERS:
        value = body.get(key)
        # A size may come as a text.
        if isinstance(value, str) and value.isdecimal() and len(value) < 16:
            value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            media[name] = value
    for name in ("voice", "animated"):
        if isinstance(value := body.get(name), bool):
            media[name] = value
    return media


_FILE_TEXTS = (
    ("id", "id"),
    ("mime_type", "mime"),
    ("sha256", "sha256"),
    ("url", "url"),
    ("filename", "filename"),
)
_FILE_NUMBERS = (("file_size", "size"), ("duration", "seconds"))


def _location(body: JsonObject) -> Content | None:
    place: JsonObject = {}
    for name in ("latitude", "longitude"):
        degrees = body.get(name)
        if not isinstance(degrees, int | float) or isinstance(degrees, bool):
            return None
        place[name] = degrees
    for name in ("name", "address", "url"):
        if value := text_of(body.get(name)):
            place[name] = value
    return "LOCATION", None, {"location": place}


def _cards(body: object) -> Content | None:
    cards = [_card(raw) for raw in objects_of(body)]
    return ("CONTACTS", None, {"cards": cards}) if cards else None


def _card(raw: JsonObject) -> JsonObject:
    named = object_of(raw.get("name"))
    name = text_of(named.get("formatted_name")) or " ".join(
        part for key in ("first_name", "last_name") if (part := text_of(named.get(key)))
    )
    phones = [
        text_of(phone.get("phone")) or text_of(phone.get("wa_id"))
        for phone in objects_of(raw.get("phones"))
    ]
    emails = [text_of(email.get("email")) for email in objects_of(raw.get("emails"))]
    card: JsonObject = {"name": name or None, "phones": [phone for phone in phones if phone]}
    if known := [email for email in emails if email]:
        card["emails"] = known
    if company := text_of(object_of(raw.get("org")).get("company")):
        card["org"] = company
    return card


def _interactive(body: JsonObject) -> Content | None:
    subtype = text_of(body.get("type"))
    reply = body.get(subtype) if subtype else None
    if subtype is None or not is_object(reply):
        return None
    metadata: JsonObject = {"subtype": subtype}
    if subtype in ("button_reply", "list_reply"):
        return "INTERACTIVE", text_of(reply.get("title")), metadata | _chosen(reply.get("id"))
    if subtype == "call_permission_reply":
        return "INTERACTIVE", None, metadata | _chosen(reply.get("response"))
    if subtype == "nfm_reply":
        return "INTERACTIVE", text_of(reply.get("body")), metadata | _form(reply)
    return None


def _button(body: JsonObject) -> Content:
    """A quick reply of a template."""
    metadata: JsonObject = {"subtype": "quick_reply"}
    return "INTERACTIVE", text_of(body.get("text")), metadata | _chosen(body.get("payload"))


def _chosen(value: object) -> JsonObject:
    return {"replyValue": value} if text_of(value) else {}


def _form(reply: JsonObject) -> JsonObject:
    """The answers of a flow: JSON in a string, of whatever kind its author made it."""
    answers = reply.get("response_json")
    if not isinstance(answers, str):
        return {} if answers is None else {"form": answers}
    try:
        form = strict_json.loads(answers)
    except ValueError:
        return {"formText": answers}
    # The string hid its depth and its escapes from the checks on the body.
    return {"form": clean(form)} if _is_shallow(form) else {"formText": answers}


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        nested: list[object] = []
        for item in level:
            if is_object(item):
                nested.extend(item.values())
            elif is_list(item):
                nested.extend(item)
        if not nested:
            return True
        level = nested
    return False


def _order(body: JsonObject) -> Content:
    order: JsonObject = {
        "items": [camel_case(item) for item in objects_of(body.get("product_items"))]
    }
    if catalog_id := text_of(body.get("catalog_id")):
        order["catalogId"] = catalog_id
    return "ORDER", text_of(body.get("text")), {"order": order}


def _system(body: JsonObject) -> Content:
    subtype = text_of(body.get("type"))
    return "SYSTEM", text_of(body.get("body")), {"subtype": subtype} if subtype else {}


_READERS: dict[str, Callable[[JsonObject], Content | None]] = {
    "text": _text,
    "image": _media("IMAGE"),
    "video": _media("VIDEO"),
    "audio": _media("AUDIO"),
    "document": _media("DOCUMENT"),
    "sticker": _media("STICKER"),
    "voice": _voice,
    "location": _location,
    "interactive": _interactive,
    "button": _button,
    "order": _order,
    "system": _system,
}

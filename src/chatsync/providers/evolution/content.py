"""What a message says: its type, its text, and what goes into its metadata.

The content stands under one key among others, in any order and inside any number of wrappers.
Must never copy inline media: `base64` stays in the delivery.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution import attachments, replies
from chatsync.providers.evolution.values import mapping, number, text
from chatsync.providers.inbound import MessageType

# Keys that stand beside the content of a message.
_BESIDE = frozenset(
    [
        "base64",
        "fastRatchetKeySenderKeyDistributionMessage",
        "mediaUrl",
        "messageContextInfo",
        "senderKeyDistributionMessage",
        "speechToText",
    ]
)
_WRAPPERS = frozenset(
    [
        "associatedChildMessage",
        "botInvokeMessage",
        "deviceSentMessage",
        "documentWithCaptionMessage",
        "editedMessage",
        "ephemeralMessage",
        "groupMentionedMessage",
        "lottieStickerMessage",
        "viewOnceMessage",
        "viewOnceMessageV2",
        "viewOnceMessageV2Extension",
    ]
)
# Names of types that say, without a content, that there is none.
_NO_TYPES = frozenset({"", "unknown", "conversation", "extendedTextMessage", *_BESIDE})

_MEDIA: Final[dict[str, MessageType]] = {
    "imageMessage": "IMAGE",
    "videoMessage": "VIDEO",
    "ptvMessage": "VIDEO",
    "audioMessage": "AUDIO",
    "documentMessage": "DOCUMENT",
    "stickerMessage": "STICKER",
}
# What else is read: its type, and what gives its text and metadata.
_Reader: TypeAlias = Callable[[JsonObject], tuple[str | None, JsonObject] | None]
_OTHERS: Final[dict[str, tuple[MessageType, _Reader]]] = {
    "locationMessage": ("LOCATION", attachments.location),
    "liveLocationMessage": ("LOCATION", attachments.location),
    "contactMessage": ("CONTACTS", attachments.contact),
    "contactsArrayMessage": ("CONTACTS", attachments.contacts),
    "listResponseMessage": ("INTERACTIVE", replies.chosen_row),
    "buttonsResponseMessage": ("INTERACTIVE", replies.pressed_button),
    "templateButtonReplyMessage": ("INTERACTIVE", replies.quick_reply),
    "interactiveResponseMessage": ("INTERACTIVE", replies.form),
    "listMessage": ("INTERACTIVE", replies.offered_list),
    "buttonsMessage": ("INTERACTIVE", replies.offered_buttons),
    "interactiveMessage": ("INTERACTIVE", replies.offered_flow),
    "templateMessage": ("TEMPLATE", replies.template),
    "orderMessage": ("ORDER", replies.order),
}


@dataclass(frozen=True, slots=True)
class Content:
    type: MessageType
    text: str | None
    metadata: JsonObject


def found(message: object, named: object) -> tuple[str, object] | None:
    """The key and value of a message's content, out of its wrappers; None where it has none.

    `named` is the type that the item names beside its content, for a message without one.
    """
    while isinstance(message, dict):
        said = cast(JsonObject, message)
        kind = None
        for key in said:
            if key not in _BESIDE and said[key] is not None:
                kind = key
                break
        if kind is None:
            break
        body: object = said[kind]
        if kind not in _WRAPPERS or "message" not in mapping(body):
            return kind, body
        message = mapping(body)["message"]
    return (named, {}) if isinstance(named, str) and named not in _NO_TYPES else None


def read(kind: str, body: object, media_url: object = None) -> Content:
    """The content of a type. What nobody knows, or is damaged, is kept as UNSUPPORTED."""
    if kind == "conversation":
        return Content("TEXT", text(body), {})
    said = mapping(body)
    if kind == "extendedTextMessage":
        return Content("TEXT", text(said.get("text")), {})
    if (media_type := _MEDIA.get(kind)) is not None:
        metadata: JsonObject = {"media": attachments.media(said, media_url)}
        return Content(media_type, text(said.get("caption")), metadata)
    if (other := _OTHERS.get(kind)) is not None:
        message_type, reader = other
        if (told := reader(said)) is not None:
            return Content(message_type, *told)
    return Content("UNSUPPORTED", None, {"providerType": kind[:100], "subtype": kind[:100]})


def circumstances(context: object) -> JsonObject:
    """What a context says beside the message it answers: forwarded, and who is mentioned."""
    said = mapping(context)
    metadata: JsonObject = {}
    if said.get("isForwarded") is True or (number(said.get("forwardingScore")) or 0) > 0:
        metadata["forwarded"] = True
    mentioned = said.get("mentionedJid")
    if isinstance(mentioned, list):
        mentions = [jid for jid in map(text, cast(list[object], mentioned)) if jid is not None]
        if mentions:
            metadata["mentions"] = mentions
    return metadata

"""How far messages of ours have come: `statuses[]`, which calls share."""

from typing import Literal

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Ignored, Item, Status
from chatsync.providers.whatsapp_cloud.calls import parse_call_status
from chatsync.providers.whatsapp_cloud.change import Change
from chatsync.providers.whatsapp_cloud.facts import (
    Unusable,
    camel_case,
    error_of,
    id_of,
    is_object,
    object_of,
    objects_of,
    shown,
    text_of,
    time_of,
)

_STATUSES: dict[str, Literal["SENT", "DELIVERED", "READ", "PLAYED", "FAILED"]] = {
    "sent": "SENT",
    "delivered": "DELIVERED",
    "read": "READ",
    "played": "PLAYED",
    "failed": "FAILED",
}
# Of older versions: they say nothing about the way of a message.
_LEGACY = ("deleted", "warning")
_PARTICIPANT = (
    ("recipient_id", "groupId"),
    ("recipient_participant_id", "phone"),
    ("recipient_participant_user_id", "bsuid"),
    ("recipient_participant_parent_user_id", "parentBsuid"),
)


def parse_status(raw: JsonObject, change: Change) -> Item:
    if raw.get("type") == "call":
        return parse_call_status(raw, change)
    name = raw.get("status")
    status = _STATUSES.get(name) if isinstance(name, str) else None
    if status is None:
        if name in _LEGACY:
            return Ignored(f"the status {name} of older versions")
        raise Unusable(f"unknown status {shown(name)}")
    errors = objects_of(raw["errors"]) if "errors" in raw else None
    return Status(
        id_of(raw),
        status,
        time_of(raw.get("timestamp")),
        error_of(errors[0]) if errors else None,
        _details(raw),
    )


def _details(raw: JsonObject) -> JsonObject:
    details: JsonObject = {}
    if is_object(pricing := raw.get("pricing")):
        details["pricing"] = camel_case(pricing)
    if is_object(conversation := raw.get("conversation")) and (
        origin := text_of(object_of(conversation.get("origin")).get("type"))
    ):
        details["conversationOrigin"] = origin
    if callback_data := text_of(raw.get("biz_opaque_callback_data")):
        details["callbackData"] = callback_data
    if raw.get("recipient_type") == "group" or "recipient_participant_id" in raw:
        details["recipient"] = {
            name: value for key, name in _PARTICIPANT if (value := text_of(raw.get(key)))
        }
    return details

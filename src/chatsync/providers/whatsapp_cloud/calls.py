"""The steps of calls: `calls[]`, and those of `statuses[]` that are about a call."""

from typing import Literal, TypeAlias

from chatsync.providers.body import JsonObject
from chatsync.providers.inbound import Call, Item
from chatsync.providers.whatsapp_cloud.change import Change
from chatsync.providers.whatsapp_cloud.facts import (
    Unusable,
    error_of,
    id_of,
    objects_of,
    shown,
    text_of,
    time_of,
)

_Step: TypeAlias = Literal["offered", "ringing", "accepted", "ended"]
_EVENTS: dict[str, _Step] = {"connect": "offered", "terminate": "ended"}
_STATUSES: dict[str, _Step] = {
    "ringing": "ringing",
    "accepted": "accepted",
    "rejected": "ended",
    "failed": "ended",
}


def parse_call(raw: JsonObject, change: Change) -> Item:
    event = text_of(raw.get("event"))
    step = _EVENTS.get(event.lower()) if event else None
    if step is None:
        raise Unusable(f"unknown event of a call {shown(raw.get('event'))}")
    initiator = raw.get("direction")
    is_outbound = initiator == "BUSINESS_INITIATED" or (
        initiator != "USER_INITIATED" and change.is_business(raw.get("from"))
    )
    side = "to" if is_outbound else "from"
    return Call(
        id_of(raw),
        change.people.contact(
            raw.get(side), raw.get(f"{side}_user_id"), raw.get(f"{side}_parent_user_id")
        ),
        "OUTBOUND" if is_outbound else "INBOUND",
        step,
        time_of(raw.get("timestamp")),
        _details(raw),
    )


def parse_call_status(raw: JsonObject, change: Change) -> Item:
    """A step of a call that the business made: only of those are there statuses."""
    status = text_of(raw.get("status"))
    step = _STATUSES.get(status.lower()) if status else None
    if step is None:
        raise Unusable(f"unknown status of a call {shown(raw.get('status'))}")
    contact = change.people.contact(
        raw.get("recipient_id"),
        raw.get("recipient_user_id"),
        raw.get("recipient_parent_user_id"),
    )
    occurred_at = time_of(raw.get("timestamp"))
    return Call(id_of(raw), contact, "OUTBOUND", step, occurred_at, _details(raw))


def _details(raw: JsonObject) -> JsonObject:
    details: JsonObject = {}
    if status := text_of(raw.get("status")):
        details["status"] = status.lower()
    duration = raw.get("duration")
    if isinstance(duration, int) and not isinstance(duration, bool):
        details["seconds"] = duration
    if callback_data := text_of(raw.get("biz_opaque_callback_data")):
        details["callbackData"] = callback_data
    if errors := objects_of(raw.get("errors")):
        details["errors"] = [error_of(error) for error in errors]
    return details

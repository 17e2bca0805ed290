"""Calls: each event is one step of one call."""

from datetime import datetime
from typing import Final, Literal

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution.people import Envelope, person
from chatsync.providers.evolution.values import Unusable, flag, moment, required_id, text
from chatsync.providers.inbound import Call, Ignored, Item

_Step = Literal["offered", "ringing", "accepted", "ended"]
_STEPS: Final[dict[str, _Step]] = {
    "offer": "offered",
    "ringing": "ringing",
    "preaccept": "ringing",
    "accept": "accepted",
    "reject": "ended",
    "timeout": "ended",
    "terminate": "ended",
}
_SIGNALLING = frozenset({"relaylatency", "transport"})


def call(raw: JsonObject, envelope: Envelope) -> Item:
    status = text(raw.get("status")) or ""
    if status in _SIGNALLING:
        return Ignored(f"call {status}")
    step = _STEPS.get(status)
    if step is None:
        raise Unusable("an unknown step of a call")
    caller = person([raw.get("from"), raw.get("callerPn")], envelope)
    is_ours = caller is not None and caller.phone_number == envelope.own_number is not None
    contact = person([raw.get("chatId")], envelope) if is_ours else caller
    if contact is None:
        raise Unusable("a call with nobody")
    details = {name: flag(raw.get(name)) for name in ("isVideo", "isGroup")}
    return Call(
        required_id(raw.get("id"), "a call"),
        contact,
        "OUTBOUND" if is_ours else "INBOUND",
        step,
        _date(raw.get("date"), envelope.received_at),
        {"status": status, **{name: value for name, value in details.items() if value is not None}},
    )


def _date(value: object, fallback: datetime) -> datetime:
    """The `date` of a call, which unlike `date_time` is a true one in UTC."""
    if isinstance(value, str):
        try:
            said = datetime.fromisoformat(value)
        except ValueError:
            return fallback
        if said.tzinfo is None or said.year not in range(2000, 2100):
            return fallback
        return moment(int(said.timestamp() * 1000), fallback)
    return moment(value, fallback)

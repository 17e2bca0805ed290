"""An instance's own connection to WhatsApp: its state and its QR codes.

Deliveries of these come out of order and flap every few seconds in a bad state.
"""

from typing import Final, Literal, TypeAlias

from chatsync.providers.body import JsonObject
from chatsync.providers.evolution.people import Envelope, phone
from chatsync.providers.evolution.values import Unusable, mapping, number, text
from chatsync.providers.inbound import Connection, Ignored, Item

_State: TypeAlias = Literal["open", "connecting", "close", "refused"]
_STATES: Final[dict[str, _State]] = {
    "open": "open",
    "connecting": "connecting",
    "close": "close",
    "refused": "refused",
}


def update(raw: JsonObject, _envelope: Envelope) -> Item:
    state = _STATES.get(text(raw.get("state")) or "")
    if state is None:
        raise Unusable("an unknown state of a connection")
    return Connection(state, number(raw.get("statusReason")), phone(raw.get("wuid")))


def qrcode(raw: JsonObject, _envelope: Envelope) -> Item:
    said = mapping(raw.get("qrcode"))
    found = {name: text(said.get(name)) for name in ("code", "base64", "pairingCode")}
    if not any(found.values()):
        return Ignored("no QR code, as after the last of them")
    # No state: a code that comes late must not close a connection that was opened with it.
    return Connection(None, qrcode=found)

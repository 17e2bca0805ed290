"""Whatever stands in a delivery of Evolution's, every item yields something and nothing raises."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsync.providers.evolution import delivery as deliveries
from chatsync.providers.evolution import parse, redacted, secret, secret_fits
from chatsync.providers.inbound import Ignored, Malformed, Source

SOURCE = Source(7, None, datetime(2026, 5, 1, 12, tzinfo=UTC))
EVENTS = [
    "messages.upsert", "messages.set", "send.message", "messages.update", "messages.delete",
    "messages.edited", "contacts.set", "contacts.upsert", "contacts.update", "groups.upsert",
    "connection.update", "qrcode.updated", "call", "presence.update",
]  # fmt: skip
# What real deliveries hold, so that chance gets past the first checks.
WORDS = [
    "5511990000001@s.whatsapp.net", "222000000000001@lid", "120363@g.us", "status@broadcast", "@",
    "M1", "READ", "DELETED", "REVOKE", "MESSAGE_EDIT", "14", "offer", "open", "1777000000", "",
    "https://a.example", "{\"id\": 1}", "FN:a\nTEL:1", "2026-05-01T00:00:00Z", "\ud800", "9" * 5000,
]  # fmt: skip
KEYS = [
    "key", "id", "keyId", "remoteJid", "remoteJidAlt", "fromMe", "participant", "participantAlt",
    "message", "messageTimestamp", "messageType", "pushName", "status", "update", "contextInfo",
    "stanzaId", "mentionedJid", "conversation", "extendedTextMessage", "imageMessage", "caption",
    "fileSha256", "fileLength", "low", "high", "locationMessage", "degreesLatitude",
    "degreesLongitude", "contactMessage", "contactsArrayMessage", "contacts", "vcard",
    "reactionMessage", "protocolMessage", "type", "editedMessage", "timestampMs", "text",
    "ephemeralMessage", "viewOnceMessageV2", "listResponseMessage", "singleSelectReply",
    "interactiveResponseMessage", "nativeFlowResponseMessage", "paramsJson", "body", "data",
    "from", "chatId", "date", "state", "statusReason", "wuid", "qrcode", "code", "messages", "keys",
]  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 14, 1_777_000_000, 1_777_000_000_000, 2**70, -(2**70), 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(WORDS)
)


def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), children, max_size=6)
    return st.lists(children, max_size=4) | objects


anything = st.recursive(scalars, nested, max_leaves=25)
SAMPLE = {
    "key": {"remoteJid": "5511990000001@s.whatsapp.net", "fromMe": False, "id": "M1"},
    "message": {"imageMessage": {"caption": "a"}, "messageContextInfo": {}},
    "messageTimestamp": 1_777_000_000,
    "contextInfo": {"stanzaId": "Q1"},
    "status": "READ",
    "state": "open",
    "id": "M1",
    "from": "5511990000001@s.whatsapp.net",
}


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A sound item in which something else stands in one or two places."""
    item: dict[str, Any] = json.loads(json.dumps(SAMPLE))
    for _ in range(draw(st.integers(1, 2))):
        place: dict[str, Any] = item
        key = draw(st.sampled_from(list(place)))
        while isinstance(place[key], dict) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(list(place)))
        place[key] = draw(anything)
    return item


@given(
    event=st.sampled_from(EVENTS), data=st.lists(damaged() | anything, max_size=5), sender=anything
)
def test_every_item_yields_something_and_nothing_raises(event: str, data: list[Any], sender: Any):
    found = parse({"event": event, "instance": "shop", "data": data, "sender": sender}, SOURCE)
    assert len(found) == (len(data) or 1) or event == "presence.update"


@given(delivery=st.dictionaries(st.sampled_from(["event", "data", "sender"]), anything))
def test_every_delivery_yields_something(delivery: dict[str, Any]):
    for event in (*EVENTS, None):
        assert parse(delivery, SOURCE, event)


@given(kind=st.sampled_from(KEYS), body=anything)
def test_every_content_yields_something(kind: str, body: Any):
    (found,) = parse(
        {"event": "messages.upsert", "data": SAMPLE | {"message": {kind: body}}}, SOURCE
    )
    # What is stored goes through JSON, whatever was sent.
    metadata = getattr(found, "metadata", {})
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


@given(apikey=anything, header=st.text(), known=st.lists(st.text()))
def test_no_secret_is_an_error(apikey: Any, header: str, known: list[str]):
    delivery = {"apikey": apikey, "data": {}}
    offered = secret(delivery, {"apikey": header, "authorization": f"Bearer {header}"})
    assert secret_fits(offered, known) == any(each in offered for each in known if each)
    assert redacted(delivery)["apikey"] is None


@pytest.mark.parametrize("event", EVENTS)
def test_the_oracle_would_see_a_parser_that_raises(event: str, monkeypatch: pytest.MonkeyPatch):
    """The check above must fail for a reader that lets an error through."""
    readers: dict[str, tuple[Callable[..., Any], str]] = deliveries._READERS
    if event not in readers:
        assert isinstance(parse({"event": event, "data": {}}, SOURCE)[0], Ignored | Malformed)
        return

    def careless(_raw: object, _envelope: object) -> None:
        raise KeyError

    monkeypatch.setitem(readers, event, (careless, "list"))
    with pytest.raises(KeyError):
        parse({"event": event, "data": {}}, SOURCE)

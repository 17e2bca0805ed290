"""What senders of Standard Webhooks say, and whatever else they may send."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatsync.providers.inbound import Identity, Item, Malformed, Message, Source, Status
from chatsync.providers.standard import parse

RECEIVED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOURCE = Source(7, None, RECEIVED_AT)
EXTERNAL = Identity("inbox:7", "external", "customer-1")
PHONE = Identity("tenant", "phone", "5511990000001")


def item(kind: object = "message", contact: object = ..., **said: Any) -> Item:
    who = {"id": "customer-1", "name": "Alice"} if contact is ... else contact
    message = {"id": "M1", "type": "text", "text": "olá", "timestamp": 1_777_000_000} | said
    message = {name: value for name, value in message.items() if value is not ...}
    (found,) = parse({"type": kind, "contact": who, "message": message}, SOURCE)
    return found


def message(contact: object = ..., **said: Any) -> Message:
    found = item("message", contact, **said)
    assert isinstance(found, Message), found
    return found


def test_a_text_is_what_was_said_by_whom_and_when():
    found = message()
    assert (found.provider_message_id, found.type, found.content) == ("M1", "TEXT", "olá")
    assert (found.direction, found.origin, found.status) == ("INBOUND", "live", None)
    assert found.occurred_at == datetime.fromtimestamp(1_777_000_000, UTC)
    assert found.contact is not None
    assert (found.contact.identities, found.contact.name) == ((EXTERNAL,), "Alice")


@pytest.mark.parametrize(
    "number", ["+5511990000001", "5511990000001", "+55 (11) 99000-0001", "+55.11.990000001"]
)
def test_a_phone_number_is_a_name_too(number: str):
    contact = message({"id": "customer-1", "phoneNumber": number}).contact
    assert contact is not None
    assert contact.identities == (EXTERNAL, PHONE)
    assert contact.phone_number == "5511990000001"


@pytest.mark.parametrize("number", ["", "0119900", "123", "1" * 16, "call me", 5511990000001, None])
def test_what_is_no_phone_number_is_left_out(number: object):
    contact = message({"id": "customer-1", "phoneNumber": number}).contact
    assert contact is not None
    assert (contact.identities, contact.phone_number) == ((EXTERNAL,), None)


@pytest.mark.parametrize(
    "said",
    [
        1_777_000_000,
        "1777000000",
        1_777_000_000_000,
        "1777000000000",
        "2026-04-24T03:06:40Z",
        "2026-04-24T00:06:40-03:00",
        "2026-04-24T03:06:40.000+00:00",
    ],
    ids=repr,
)
def test_a_time_may_be_written_in_many_ways(said: object):
    assert message(timestamp=said).occurred_at == datetime.fromtimestamp(1_777_000_000, UTC)


@pytest.mark.parametrize(
    "said",
    [
        ...,
        None,
        "",
        "soon",
        True,
        0,
        -1,
        10**400,
        "2026-04-24T03:06:40",
        "1999-01-01T00:00:00Z",
        {},
    ],
    ids=repr,
)
def test_a_damaged_time_is_the_time_of_receipt(said: object):
    assert message(timestamp=said).occurred_at == RECEIVED_AT


@pytest.mark.parametrize("kind", ["image", "VIDEO", "Document", "interactive", "system"])
def test_a_known_type_is_known_in_any_case(kind: str):
    assert message(type=kind, text=...).type == kind.upper()


def test_an_unknown_type_is_kept():
    found = message(type="hologram", text="look")
    assert (found.type, found.content) == ("UNSUPPORTED", "look")
    assert found.metadata == {"providerType": "hologram"}
    assert message(type=..., text="plain").type == "TEXT"
    assert message(type=..., text=...).type == "UNSUPPORTED"


def test_media_and_places_are_described_and_never_copied():
    media = {
        "url": "https://store.example/a.png",
        "mime": "image/png",
        "size": 5,
        "voice": True,
        "seconds": False,
        "base64": "AAAA",
        "filename": 5,
    }
    kept = {"url": "https://store.example/a.png", "mime": "image/png", "size": 5, "voice": True}
    assert message(type="image", media=media).metadata == {"media": kept}
    assert message(type="image", media={"url": "data:image/png;base64,AA"}).metadata == {}
    place = {"latitude": 0.0, "longitude": 1, "name": "Café", "base64": "AAAA", "url": None}
    assert message(type="location", location=place).metadata == {
        "location": {"latitude": 0.0, "longitude": 1, "name": "Café"}
    }


def test_what_the_business_sent_is_an_echo_with_a_status():
    found = message(direction="outbound", status="played")
    assert (found.direction, found.origin, found.status) == ("OUTBOUND", "echo", "READ")
    assert message(direction="outbound").status == "SENT"
    assert message(direction="inbound", status="read").status is None


def test_a_reply_names_what_it_answers():
    assert message(replyTo="M0").reply_to == "M0"


@pytest.mark.parametrize("status", ["pending", "sent", "delivered", "READ", "played", "failed"])
def test_a_status_is_how_far_a_message_has_come(status: Any):
    at = datetime.fromtimestamp(1_777_000_000, UTC)
    assert item("status", status=status) == Status("M1", status.upper(), at)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("no such number", {"code": None, "title": "no such number", "details": None}),
        ({"code": 7, "message": "no"}, {"code": 7, "title": "no", "details": None}),
        ({}, None),
        (5, None),
    ],
)
def test_a_failure_has_a_reason(said: object, error: object):
    found = item("status", status="failed", error=said)
    assert isinstance(found, Status)
    assert found.error == error


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "presence"},
        {"kind": None},
        {"kind": []},
        {"id": ""},
        {"id": 5},
        {"id": "x" * 501},
        {"text": ...},
        {"contact": None},
        {"contact": {"name": "Alice"}},
        {"direction": "sideways"},
        {"kind": "status", "status": "lost"},
        {"kind": "status", "status": "read", "id": ...},
    ],
)
def test_what_nobody_can_process_is_malformed(said: dict[str, Any]):
    assert isinstance(item(**said), Malformed)


KEYS = ["id", "type", "text", "timestamp", "status", "direction", "media", "location", "error",
        "name", "phoneNumber", "url", "size", "replyTo", "code", "latitude"]  # fmt: skip
WORDS = ["message", "status", "text", "read", "outbound", "M1", "2026-05-01T00:00:00Z", "9" * 5000]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([*WORDS, 10**400, 1_777_000_000, "\ud800"])
)
anything = st.recursive(
    scalars,
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), children, max_size=6)
    ),
    max_leaves=20,
)
said = st.dictionaries(st.sampled_from(KEYS), anything) | anything


@given(kind=st.sampled_from(["message", "status"]) | anything, contact=said, message=said)
def test_every_delivery_yields_one_item_and_nothing_raises(kind: Any, contact: Any, message: Any):
    (found,) = parse({"type": kind, "contact": contact, "message": message}, SOURCE)
    metadata = getattr(found, "metadata", {})
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


@given(contact=said, changes=st.dictionaries(st.sampled_from(KEYS), anything, max_size=2))
def test_one_strange_value_in_a_sound_delivery_raises_nothing(contact: Any, changes: Any):
    for kind in ("message", "status"):
        assert item(kind, {"id": "customer-1"}, **{"status": "sent", **changes})
    assert item("message", contact)

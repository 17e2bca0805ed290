"""Deliveries of Evolution's: their event, their secret, and what is not about a message."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.evolution import (
    event_name,
    instance,
    parse,
    redacted,
    secret,
    secret_fits,
)
from chatsync.providers.inbound import (
    Call,
    Connection,
    Contact,
    ContactChange,
    Identity,
    Ignored,
    Item,
    Malformed,
    Source,
    Status,
)

RECEIVED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOURCE = Source(7, None, RECEIVED_AT)
ALICE = "5511990000001@s.whatsapp.net"
US = "5511990000099@s.whatsapp.net"
PHONE = Identity("tenant", "phone", "5511990000001")
LID = Identity("inbox:7", "lid", "222000000000001")


def items(event: str, data: object) -> list[Item]:
    return parse({"event": event, "instance": "shop", "data": data, "sender": US}, SOURCE)


@pytest.mark.parametrize("name", ["messages.upsert", "MESSAGES_UPSERT", "messages-upsert", " M.u"])
def test_an_event_has_one_name(name: str):
    assert event_name(name) == ("m.u" if name == " M.u" else "messages.upsert")


def test_the_events_name_is_the_bodys_or_else_the_urls():
    data = {"keyId": "M1", "fromMe": True, "status": 2}
    expected: list[Item] = [Status("M1", "SENT", RECEIVED_AT)]
    assert parse({"data": data}, SOURCE, "messages-update") == expected
    assert parse({"event": 5, "data": data}, SOURCE, "MESSAGES_UPDATE") == expected
    assert parse({"event": "messages.update", "data": data}, SOURCE, "call") == expected


@pytest.mark.parametrize(
    "event",
    ["presence.update", "chats.upsert", "chats.delete", "CHATS_SET", "error", "labels.edit",
     "group-participants.update", "typebot.change-status", "logout.instance"],
)  # fmt: skip
def test_an_event_without_a_meaning_is_ignored(event: str):
    assert items(event, [{"remoteJid": ALICE}]) == [Ignored(f"event {event_name(event)}")]


def test_an_unknown_event_is_kept_without_its_secrets():
    (found,) = parse({"event": "new.thing", "api_key": "secret", "data": {}}, SOURCE)
    assert found == Malformed(
        "unknown event 'new.thing'", {"event": "new.thing", "api_key": None, "data": {}}
    )
    assert [type(each) for each in parse({}, SOURCE)] == [Malformed]


@pytest.mark.parametrize("data", [None, "text", 5])
def test_a_delivery_without_data_is_malformed(data: object):
    assert items("messages.upsert", data) == [Malformed("not an object", data)]


def test_an_empty_list_is_not_lost_without_a_word():
    assert items("contacts.update", []) == [Ignored("nothing in contacts.update")]


def test_the_instance_is_named_by_text_alone():
    assert instance({"instance": "shop"}) == "shop"
    assert [instance({"instance": other}) for other in ("", None, 5, {})] == [None] * 4


def test_a_secret_may_stand_in_three_places():
    headers = {"apikey": "a", "authorization": "bearer  c "}
    assert secret({"apikey": "b"}, headers) == ["a", "b", "c"]
    assert secret({"apikey": None}, {"authorization": "Basic abc"}) == []
    assert secret({"apikey": 5}, {"apikey": "", "authorization": "Bearer"}) == []


def test_a_secret_fits_if_any_of_the_known_is_offered():
    assert secret_fits(["wrong", "right"], ["other", "right"])
    assert not secret_fits(["wrong"], ["right"])
    assert not secret_fits([], ["right"])
    assert not secret_fits(["right"], [])


def test_an_empty_or_strange_secret_is_wrong_and_no_error():
    assert not secret_fits([""], ["", "right"])
    assert not secret_fits(["señal", "\ud800"], ["right"])
    assert secret_fits(["señal"], ["señal"])


def test_keys_are_removed_before_anything_is_stored():
    delivery: dict[str, Any] = {"apikey": "one", "api_key": 5, "data": {"a": 1}}
    assert redacted(delivery) == {"apikey": None, "api_key": None, "data": {"a": 1}}
    assert delivery["apikey"] == "one"
    clean = {"apikey": None, "data": {}}
    assert redacted(clean) is clean


@pytest.mark.parametrize("state", ["open", "connecting", "close", "refused"])
def test_a_connection_has_a_state_and_a_reason(state: Any):
    data = {"state": state, "statusReason": "401", "wuid": "5511990000099:3@s.whatsapp.net"}
    assert items("connection.update", data) == [Connection(state, 401, "5511990000099")]
    assert items("connection.update", {"state": state}) == [Connection(state)]


@pytest.mark.parametrize("state", [None, "", "odd", 5, []])
def test_an_unknown_state_is_malformed(state: object):
    assert isinstance(items("connection.update", {"state": state})[0], Malformed)


def test_a_code_to_scan_says_nothing_of_the_state():
    code = {"code": "2@x", "base64": "data:image/png;base64,AA", "pairingCode": None, "count": 1}
    expected = {name: code[name] for name in ("code", "base64", "pairingCode")}
    assert items("qrcode.updated", {"qrcode": code}) == [Connection(None, qrcode=expected)]


def test_after_the_last_code_there_is_none():
    data = {"message": "QR code limit reached, please login again", "statusCode": 500}
    assert isinstance(items("qrcode.updated", data)[0], Ignored)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("offer", "offered"),
        ("ringing", "ringing"),
        ("accept", "accepted"),
        ("reject", "ended"),
        ("timeout", "ended"),
        ("terminate", "ended"),
    ],
)
def test_a_call_has_steps(status: str, step: Any):
    data = {"id": "C1", "from": ALICE, "status": status, "isVideo": True, "isGroup": None}
    details = {"status": status, "isVideo": True}
    contact = Contact((PHONE,), None, PHONE.value)
    assert items("call", data) == [Call("C1", contact, "INBOUND", step, RECEIVED_AT, details)]


def test_a_call_by_us_is_outbound_and_its_date_is_a_clock():
    date = "2026-04-30T10:00:00.500Z"
    data = {"id": "C1", "from": US, "chatId": ALICE, "status": "offer", "date": date}
    (found,) = items("call", data)
    assert isinstance(found, Call)
    assert (found.direction, found.contact.identities) == ("OUTBOUND", (PHONE,))
    assert found.occurred_at == datetime(2026, 4, 30, 10, 0, 0, 500_000, UTC)


@pytest.mark.parametrize("date", ["2026-04-30", "never", 5, {}, "0001-01-01T00:00:00+00:00"])
def test_a_damaged_date_of_a_call_is_the_time_of_receipt(date: object):
    (found,) = items("call", {"id": "C1", "from": ALICE, "status": "offer", "date": date})
    assert isinstance(found, Call)
    assert found.occurred_at == RECEIVED_AT


def test_a_caller_has_both_names():
    data = {"id": "C1", "from": "222000000000001@lid", "callerPn": ALICE, "status": "offer"}
    (found,) = items("call", data)
    assert isinstance(found, Call)
    assert found.contact.identities == (LID, PHONE)


def test_a_call_that_cannot_be_read_is_malformed_alone():
    calls = [
        {"id": "C1", "from": ALICE, "status": "relaylatency"},
        {"id": "C1", "from": ALICE, "status": "odd"},
        {"id": "C1", "status": "offer"},
        {"from": ALICE, "status": "offer"},
    ]
    assert [type(found) for found in items("call", calls)] == [Ignored, *[Malformed] * 3]


@pytest.mark.parametrize(
    ("event", "is_own"),
    [("contacts.update", True), ("contacts.upsert", False), ("contacts.set", False)],
)
def test_an_address_book_is_the_businesss_word(event: str, is_own: bool):
    data = {"remoteJid": ALICE, "pushName": "Alice", "profilePicUrl": "https://a.example/1.png"}
    profile = {"avatarUrl": "https://a.example/1.png"}
    contact = Contact((PHONE,), "Alice", PHONE.value, profile=profile)
    expected = ContactChange(contact, RECEIVED_AT, is_own)
    assert items(event, data) == [expected]
    assert items(event, [data, data]) == [expected, expected]


def test_a_contact_in_the_phones_own_shape_joins_its_names():
    data = {"id": "222000000000001@lid", "phoneNumber": ALICE, "notify": "Alice"}
    (found,) = items("contacts.upsert", [data])
    assert isinstance(found, ContactChange)
    assert (found.contact.identities, found.contact.name) == ((LID, PHONE), "Alice")


def test_a_number_is_no_name():
    data = {"remoteJid": ALICE, "pushName": "5511990000001", "profilePicUrl": None}
    assert items("contacts.upsert", [data]) == [Ignored("nothing new of a contact")]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("contacts.update", {"remoteJid": "12036@g.us", "pushName": "Team"}),
        ("contacts.upsert", {"remoteJid": "12036@g.us", "pushName": "Team"}),
        ("groups.upsert", {"id": "12036@g.us", "subject": "Team", "participants": []}),
        ("group.update", {"id": "12036@g.us", "subject": "Team"}),
    ],
)
def test_a_group_has_the_name_that_it_gives_itself(event: str, data: dict[str, Any]):
    group = Contact((Identity("inbox:7", "group", "12036@g.us"),), "Team")
    assert items(event, [data]) == [ContactChange(group, RECEIVED_AT)]


def test_contacts_that_are_none_are_told_apart():
    data = [
        {"remoteJid": "1@newsletter", "pushName": "News"},
        {"remoteJid": US, "pushName": "Shop"},
        {"id": "12036@g.us", "announce": True},
        {"id": "row", "pushName": "Nobody"},
        {},
    ]
    kinds = [Ignored, Ignored, Ignored, Malformed, Malformed]
    assert [type(found) for found in items("contacts.update", data)] == kinds

"""Who said what, by samples of our own of Evolution's messages.upsert and its kin."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.evolution import parse
from chatsync.providers.inbound import (
    Edit,
    Identity,
    Ignored,
    Item,
    Malformed,
    Message,
    Reaction,
    Revoke,
    Source,
)

RECEIVED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOURCE = Source(7, None, RECEIVED_AT)
ALICE = "5511990000001@s.whatsapp.net"
ALICE_LID = "222000000000001@lid"
US = "5511990000099@s.whatsapp.net"
GROUP = "120363999999999@g.us"
PHONE = Identity("tenant", "phone", "5511990000001")
LID = Identity("inbox:7", "lid", "222000000000001")


def upsert(key: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "key": {"remoteJid": ALICE, "fromMe": False, "id": "M1", **(key or {})},
        "pushName": "Alice",
        "status": "DELIVERY_ACK",
        "message": {"conversation": "olá", "messageContextInfo": {}},
        "messageType": "conversation",
        "messageTimestamp": 1_777_000_000,
    }
    return {name: value for name, value in (said | changes).items() if value is not ...}


def items(data: object, event: str = "messages.upsert", **envelope: Any) -> list[Item]:
    body = {"event": event, "instance": "shop", "data": data, "sender": US}
    return parse(body | envelope, SOURCE)


def item(key: dict[str, Any] | None = None, event: str = "messages.upsert", **changes: Any) -> Item:
    (found,) = items(upsert(key, **changes), event)
    return found


def message(
    key: dict[str, Any] | None = None, event: str = "messages.upsert", **changes: Any
) -> Message:
    found = item(key, event, **changes)
    assert isinstance(found, Message), found
    return found


def test_a_text_is_what_was_said_by_whom_and_when():
    said = message()
    assert said.provider_message_id == "M1"
    assert (said.direction, said.origin, said.type) == ("INBOUND", "live", "TEXT")
    assert said.content == "olá"
    assert said.occurred_at == datetime.fromtimestamp(1_777_000_000, UTC)
    assert said.contact is not None
    assert said.contact.identities == (PHONE,)
    assert (said.contact.name, said.contact.phone_number) == ("Alice", "5511990000001")
    assert (said.group, said.reply_to, said.metadata) == (None, None, {})


def test_an_inbound_status_means_nothing():
    assert message(status="DELIVERY_ACK").status is None


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("SERVER_ACK", "SENT"),
        (3, "DELIVERED"),
        ("4", "READ"),
        ("PLAYED", "READ"),
        ("ERROR", "FAILED"),
        (0, "FAILED"),
        (..., "SENT"),
        (True, "SENT"),
        ({}, "SENT"),
    ],
)
def test_what_we_sent_has_its_status(said: object, status: str):
    assert message({"fromMe": True}, status=said).status == status


def test_what_we_sent_is_an_echo_for_a_contact_that_it_does_not_name():
    said = message({"fromMe": True}, pushName="The shop")
    assert (said.direction, said.origin) == ("OUTBOUND", "echo")
    assert said.contact is not None
    assert (said.contact.identities, said.contact.name) == ((PHONE,), None)


def test_what_was_sent_by_api_waits_for_its_status():
    said = message({"fromMe": ...}, "send.message", status="PENDING")
    assert (said.direction, said.origin, said.status) == ("OUTBOUND", "api", "PENDING")
    assert message(event="send.message", status=...).status == "PENDING"


@pytest.mark.parametrize("data", [[upsert()], {"messages": [upsert()], "isLatest": True}])
def test_what_was_said_before_the_inbox_came_is_history(data: object):
    (said,) = items(data, "messages.set")
    assert isinstance(said, Message)
    assert said.origin == "history"


@pytest.mark.parametrize(
    "jid", ["status@broadcast", "551199@broadcast", "12036@newsletter", "1313@bot"]
)
def test_what_is_no_chat_opens_no_conversation(jid: str):
    assert isinstance(item({"remoteJid": jid, "participant": ALICE}), Ignored)


@pytest.mark.parametrize(
    "key",
    [
        {"id": ...},
        {"id": ""},
        {"id": 5},
        {"id": "x" * 501},
        {"remoteJid": None},
        {"remoteJid": "somewhere@else"},
        {"remoteJid": "@s.whatsapp.net"},
        {"remoteJid": "name@s.whatsapp.net"},
        {"remoteJid": GROUP},
        {"remoteJid": "no number@g.us", "participant": ALICE},
    ],
)
def test_a_message_without_an_id_or_a_person_is_malformed(key: dict[str, Any]):
    raw = upsert(key)
    raw["key"] = {name: value for name, value in raw["key"].items() if value is not ...}
    assert [type(found) for found in items(raw)] == [Malformed]


def test_a_bad_item_is_malformed_alone():
    found = items([upsert(), 5, None, [], {}, upsert({"id": "M2"})])
    assert [type(each) for each in found] == [Message, *[Malformed] * 4, Message]
    assert found[1] == Malformed("not an object", 5)


@pytest.mark.parametrize(
    "said",
    [
        1_777_000_000,
        "1777000000",
        1_777_000_000_000,
        1_777_000_000.0,
        {"low": 1_777_000_000, "high": 0, "unsigned": True},
        # A Long of JavaScript writes its lower half signed.
        {"low": -1116460544, "high": 413, "unsigned": True},
    ],
    ids=repr,
)
def test_a_time_may_be_written_in_many_ways(said: object):
    assert message(messageTimestamp=said).occurred_at == datetime.fromtimestamp(1_777_000_000, UTC)


@pytest.mark.parametrize(
    "said",
    [..., None, "", "soon", -1, 0, True, 1e300, 10**30, "9" * 40, {"low": 1}, [1], "\u0661" * 10],
    ids=repr,
)
def test_a_damaged_time_is_the_time_of_receipt(said: object):
    assert message(messageTimestamp=said).occurred_at == RECEIVED_AT


def test_the_local_time_of_the_server_is_no_clock():
    (said,) = items(upsert(messageTimestamp=None), date_time="2020-01-01T00:00:00.000Z")
    assert isinstance(said, Message)
    assert said.occurred_at == RECEIVED_AT


def test_a_reaction_acts_on_a_message():
    body = {"key": {"remoteJid": ALICE, "id": "T1"}, "text": "🎉"}
    assert item(message={"reactionMessage": body}) == Reaction(
        "M1", "T1", message().contact, "INBOUND", "🎉", datetime.fromtimestamp(1_777_000_000, UTC)
    )


@pytest.mark.parametrize("said", [{"text": ""}, {"text": None}, {}])
def test_a_reaction_without_an_emoji_takes_it_back(said: dict[str, Any]):
    found = item({"fromMe": True}, message={"reactionMessage": {"key": {"id": "T1"}, **said}})
    assert isinstance(found, Reaction)
    assert (found.emoji, found.contact, found.direction) == (None, None, "OUTBOUND")


def test_a_reaction_in_a_group_is_one_of_many():
    body = {"key": {"id": "T1"}, "text": "🎉"}
    found = item({"remoteJid": GROUP, "participant": ALICE}, message={"reactionMessage": body})
    assert isinstance(found, Reaction)
    assert found.in_group
    assert found.contact == message().contact


def test_a_reaction_to_nothing_is_malformed():
    assert isinstance(item(message={"reactionMessage": {"text": "🎉"}}), Malformed)


def test_an_edit_among_the_messages_is_an_edit():
    edit = {
        "key": {"id": "T1"},
        "type": 14,
        "editedMessage": {"conversation": "new"},
        "timestampMs": "1777000005250",
    }
    at = datetime.fromtimestamp(1_777_000_005, UTC).replace(microsecond=250_000)
    expected = Edit("e:T1:1777000005250", "T1", "new", at)
    assert item(message={"protocolMessage": edit}) == expected
    wrapped = {"editedMessage": {"message": {"protocolMessage": edit}}}
    assert item(message=wrapped) == expected


def test_a_deletion_among_the_messages_is_a_deletion():
    said = {"protocolMessage": {"key": {"id": "T1"}, "type": "REVOKE"}}
    assert item(message=said) == Revoke("r:T1", "T1", datetime.fromtimestamp(1_777_000_000, UTC))


@pytest.mark.parametrize(
    "said",
    [
        {"messageContextInfo": {}},
        {"senderKeyDistributionMessage": {}, "messageContextInfo": {}},
        {},
        None,
        {"conversation": ""},
        {"protocolMessage": {"type": 3, "key": {"id": "T1"}}},
        {"pinInChatMessage": {"type": 1}},
        {"albumMessage": {"expectedImageCount": 2}},
    ],
)
def test_what_says_nothing_is_ignored(said: object):
    assert isinstance(item(message=said, messageType="unknown"), Ignored)

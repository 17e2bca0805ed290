"""Whom a message of Evolution's is from or for: numbers, lids and groups."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.evolution import parse
from chatsync.providers.inbound import Identity, Message, Source

SOURCE = Source(7, None, datetime(2026, 5, 1, 12, tzinfo=UTC))
ALICE = "5511990000001@s.whatsapp.net"
ALICE_LID = "222000000000001@lid"
US = "5511990000099@s.whatsapp.net"
GROUP = "120363999999999@g.us"
PHONE = Identity("tenant", "phone", "5511990000001")
LID = Identity("inbox:7", "lid", "222000000000001")


def message(names: dict[str, Any]) -> Message:
    key = {"remoteJid": ALICE, "fromMe": False, "id": "M1", **names}
    data = {"key": key, "pushName": "Alice", "message": {"conversation": "olá"}}
    (found,) = parse({"event": "messages.upsert", "data": data, "sender": US}, SOURCE)
    assert isinstance(found, Message), found
    return found


@pytest.mark.parametrize(
    "key",
    [
        {"remoteJid": ALICE, "remoteJidAlt": ALICE_LID},
        {"remoteJid": ALICE_LID, "remoteJidAlt": ALICE},
        {"remoteJid": ALICE_LID, "senderPn": ALICE},
        {"remoteJid": ALICE, "senderLid": ALICE_LID},
        {"remoteJid": "5511990000001:12@s.whatsapp.net", "remoteJidAlt": ALICE_LID},
        {"remoteJid": "5511990000001@c.us", "remoteJidAlt": "222000000000001:3@lid"},
        {"remoteJid": "5511990000001", "remoteJidAlt": ALICE_LID},
    ],
)
def test_both_names_of_a_person_are_learned(key: dict[str, Any]):
    contact = message(key).contact
    assert contact is not None
    assert set(contact.identities) == {PHONE, LID}
    assert contact.phone_number == "5511990000001"


def test_a_person_may_have_no_number():
    contact = message({"remoteJid": ALICE_LID}).contact
    assert contact is not None
    assert (contact.identities, contact.phone_number) == ((LID,), None)


def test_a_name_that_is_given_twice_is_one():
    contact = message({"remoteJidAlt": ALICE, "participant": ""}).contact
    assert contact is not None
    assert contact.identities == (PHONE,)


def test_our_own_number_is_nobody_elses_name():
    contact = message({"remoteJid": ALICE_LID, "remoteJidAlt": US, "fromMe": True}).contact
    assert contact is not None
    assert contact.identities == (LID,)


def test_the_sender_of_what_we_sent_is_us():
    key = {"remoteJid": ALICE, "fromMe": True, "senderLid": "99@lid", "senderPn": "98"}
    contact = message(key).contact
    assert contact is not None
    assert contact.identities == (PHONE,)


def test_a_note_to_ourselves_is_kept():
    contact = message({"remoteJid": US, "fromMe": True}).contact
    assert contact is not None
    assert contact.phone_number == "5511990000099"


@pytest.mark.parametrize(
    "names",
    [
        {"participant": ALICE_LID, "participantAlt": ALICE},
        {"participant": ALICE, "participantLid": ALICE_LID},
        {"participant": ALICE_LID, "participantPn": ALICE},
    ],
)
def test_in_a_group_the_thread_is_the_group_and_the_author_is_known(names: dict[str, Any]):
    said = message({"remoteJid": GROUP, **names})
    assert said.group is not None
    assert said.group.identities == (Identity("inbox:7", "group", GROUP),)
    assert said.contact is not None
    assert set(said.contact.identities) == {PHONE, LID}
    assert said.contact.name == "Alice"


def test_in_a_group_we_are_nobody():
    said = message({"remoteJid": GROUP, "fromMe": True, "participant": US})
    assert said.contact is None
    assert said.group is not None

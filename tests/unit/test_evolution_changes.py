"""What happened to a message: statuses, deletions and edits of Evolution's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.evolution import parse
from chatsync.providers.inbound import (
    Edit,
    Ignored,
    Item,
    Malformed,
    ReadByBusiness,
    Revoke,
    Source,
    Status,
)

RECEIVED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SOURCE = Source(7, None, RECEIVED_AT)
ALICE = "5511990000001@s.whatsapp.net"


def items(event: str, data: object) -> list[Item]:
    return parse({"event": event, "instance": "shop", "data": data}, SOURCE)


def update(**changes: Any) -> Item:
    said = {"keyId": "M1", "remoteJid": ALICE, "fromMe": True, "status": "READ", "messageId": "row"}
    data = {name: value for name, value in (said | changes).items() if value is not ...}
    (found,) = items("messages.update", data)
    return found


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("ERROR", "FAILED"),
        ("PENDING", "PENDING"),
        ("SERVER_ACK", "SENT"),
        ("DELIVERY_ACK", "DELIVERED"),
        ("READ", "READ"),
        ("PLAYED", "PLAYED"),
        (0, "FAILED"),
        (1, "PENDING"),
        ("2", "SENT"),
        ("3", "DELIVERED"),
        (4.0, "READ"),
        (5, "PLAYED"),
        ("sent", "SENT"),
        ("DELIVERED", "DELIVERED"),
        ("FAILED", "FAILED"),
    ],
)
def test_a_status_is_told_in_many_ways(said: object, status: Any):
    assert update(status=said) == Status("M1", status, RECEIVED_AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"keyId": ..., "key": {"id": "M1", "fromMe": True}, "update": {"status": 4}},
        {
            "keyId": ...,
            "key": {"id": "M1"},
            "fromMe": ...,
            "status": ...,
            "update": {"status": "4"},
        },
        {"remoteJid": "222000000000001@lid"},
        {"fromMe": ...},
    ],
)
def test_a_status_comes_in_old_shapes_too(changes: dict[str, Any]):
    assert update(**changes) == Status("M1", "READ", RECEIVED_AT)


def test_several_statuses_are_read_one_by_one():
    data = [{"keyId": "M1", "fromMe": True, "status": 2}, "?", {"status": 2}]
    assert [type(found) for found in items("messages.update", data)] == [
        Status,
        Malformed,
        Malformed,
    ]


@pytest.mark.parametrize("status", ["READ", 4, "5"])
def test_a_read_message_of_a_contact_was_read_by_the_business(status: object):
    assert update(fromMe=False, status=status) == ReadByBusiness("M1", RECEIVED_AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DELETED"},
        {"status": "DELETED", "fromMe": False},
        {"status": "DELIVERY_ACK", "fromMe": False},
        {"status": ...},
        {"remoteJid": "status@broadcast"},
    ],
)
def test_a_status_that_means_nothing_is_ignored(changes: dict[str, Any]):
    assert isinstance(update(**changes), Ignored)


@pytest.mark.parametrize(
    "changes", [{"keyId": ...}, {"keyId": 5}, {"status": "NEW"}, {"status": []}, {"status": True}]
)
def test_a_status_of_nothing_or_of_an_unknown_kind_is_malformed(changes: dict[str, Any]):
    assert isinstance(update(**changes), Malformed)


@pytest.mark.parametrize(
    "data",
    [
        {"remoteJid": ALICE, "fromMe": False, "id": "M1", "status": "DELETED"},
        {"id": "row", "key": {"remoteJid": ALICE, "fromMe": True, "id": "M1"}, "status": "DELETED"},
        [{"id": "M1"}],
        {"keys": [{"id": "M1"}]},
    ],
)
def test_a_deletion_names_the_message_and_not_a_row(data: object):
    assert items("messages.delete", data) == [Revoke("r:M1", "M1", RECEIVED_AT)]


def test_a_deletion_of_nothing_is_malformed_and_of_no_chat_ignored():
    kinds = {
        Malformed: [{}, {"id": "row", "key": {"remoteJid": ALICE}}, {"id": 5}],
        Ignored: [{"id": "M1", "remoteJid": "status@broadcast"}, {"jid": ALICE, "all": True}],
    }
    for kind, deletions in kinds.items():
        assert {type(found) for found in items("messages.delete", deletions)} == {kind}


def edited(**changes: Any) -> Item:
    said = {
        "key": {"remoteJid": ALICE, "fromMe": False, "id": "M1"},
        "type": "MESSAGE_EDIT",
        "editedMessage": {"conversation": "new"},
        "timestampMs": "1777000005000",
    }
    data = {name: value for name, value in (said | changes).items() if value is not ...}
    (found,) = items("messages.edited", data)
    return found


AT = datetime.fromtimestamp(1_777_000_005, UTC)
EDIT = Edit("e:M1:1777000005000", "M1", "new", AT)


@pytest.mark.parametrize("kind", ["MESSAGE_EDIT", 14, "14", ...], ids=repr)
def test_an_edit_is_told_in_many_ways(kind: object):
    assert edited(type=kind) == EDIT


@pytest.mark.parametrize(
    "said",
    [
        {"extendedTextMessage": {"text": "new"}},
        {"imageMessage": {"caption": "new"}},
        {"documentWithCaptionMessage": {"message": {"documentMessage": {"caption": "new"}}}},
    ],
)
def test_an_edit_brings_new_content(said: dict[str, Any]):
    assert edited(editedMessage=said) == EDIT


def test_an_edit_brings_new_mentions():
    said = {"extendedTextMessage": {"text": "new", "contextInfo": {"mentionedJid": ["1@lid"]}}}
    found = edited(editedMessage=said)
    assert isinstance(found, Edit)
    assert found.metadata == {"mentions": ["1@lid"]}


def test_an_edit_by_api_is_an_edit():
    data = {"key": {"id": "M1"}, "type": 14, "editedMessage": {"conversation": "new"}}
    for shape in (data, {"key": {"id": "other"}, "message": {"protocolMessage": data}}):
        (found,) = items("send.message.update", shape)
        assert isinstance(found, Edit)
        assert (found.target_id, found.content, found.occurred_at) == ("M1", "new", RECEIVED_AT)


def test_without_a_time_the_same_edit_twice_is_one_and_another_is_another():
    first, again = edited(timestampMs=...), edited(timestampMs=None)
    other = edited(timestampMs=..., editedMessage={"conversation": "newer"})
    assert isinstance(first, Edit)
    assert isinstance(other, Edit)
    assert first == again
    assert first.item_id != other.item_id


@pytest.mark.parametrize("kind", ["REVOKE", 0, "0"], ids=repr)
def test_a_deletion_may_be_called_an_edit(kind: object):
    assert edited(type=kind, timestampMs=...) == Revoke("r:M1", "M1", RECEIVED_AT)


@pytest.mark.parametrize(
    "changes",
    [{"type": 3}, {"type": False}, {"type": [], "editedMessage": ...}, {"type": "HISTORY"}],
)
def test_other_protocol_messages_are_ignored(changes: dict[str, Any]):
    if changes["type"] is False:
        changes = changes | {"editedMessage": ...}
    assert isinstance(edited(**changes), Ignored)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": {}},
        {"key": 5},
        {"type": 0, "key": None},
        {"editedMessage": ...},
        {"editedMessage": {"strangeMessage": {}}},
    ],
)
def test_an_edit_that_would_blank_a_message_is_malformed(changes: dict[str, Any]):
    assert isinstance(edited(**changes), Malformed)

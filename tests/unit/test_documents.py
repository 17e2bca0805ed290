"""Items as apply_inbound() takes them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.inbox.documents import InboundItem, fold
from chatsync.providers.inbound import (
    Call,
    Connection,
    Contact,
    ContactChange,
    Edit,
    Identity,
    Ignored,
    Item,
    Malformed,
    Message,
    Notice,
    Reaction,
    ReadByBusiness,
    Revoke,
    Status,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANN = Contact((Identity("tenant", "phone", "1"),), "Ann", "1")
LID = Contact((Identity("inbox:1", "lid", "33"),))
GROUP = Contact((Identity("inbox:1", "group", "g"),))
FIELDS = {
    "position",
    "tenant_id",
    "inbox_id",
    "correlation_id",
    "kind",
    "provider_message_id",
    "occurred_at",
    "contact_key",
    "direction",
    "type",
    "content",
    "metadata",
    "origin",
    "reply_to",
    "status",
    "error",
    "item_id",
    "thread_key",
    "is_placeholder",
    "data",
}

ALL: list[Item] = [
    Message("m", ANN, "INBOUND", "TEXT", "x", NOW, "live"),
    Message("m", None, "OUTBOUND", "TEXT", "x", NOW, "echo", group=GROUP, status="SENT"),
    Message("m", ANN, "INBOUND", "IMAGE", None, NOW, "history", is_placeholder=True, reply_to="r"),
    Call("c", ANN, "INBOUND", "offered", NOW, {"isVideo": True}),
    Reaction("i", "m", ANN, "INBOUND", "👍", NOW),
    Edit("i", "m", "y", NOW, {"mentions": []}),
    Revoke("i", "m", NOW),
    Status("m", "FAILED", NOW, {"code": 1}),
    ReadByBusiness("m", NOW),
    ContactChange(ANN, NOW, preferences={"a": "stop"}),
    Connection("close", 401),
    Notice("i", "account", "RESTRICTED", NOW, {"days": 3}),
    Ignored("why"),
    Malformed("why", {}),
]


def described(*items: Item) -> list[dict[str, Any]]:
    return fold([InboundItem("t1", 1, "c", item) for item in items]).items


@pytest.mark.parametrize(
    "item", ALL, ids=[f"{number} {type(item).__name__}" for number, item in enumerate(ALL)]
)
def test_every_item_is_described_by_fields_that_the_database_knows(item: Item):
    for document in described(item):
        assert set(document) <= FIELDS
        assert document["kind"]
        assert json.loads(json.dumps(document)) == document


def test_every_kind_of_item_is_tried_here():
    assert {type(item) for item in ALL} == set(Item.__args__)


def test_a_played_message_is_read_and_then_played():
    read, played, other = described(Status("m", "PLAYED", NOW), Status("n", "READ", NOW))
    assert (read["kind"], read["status"], read["position"]) == ("status", "READ", 0)
    assert (played["kind"], played["status"], played["position"]) == ("played", None, 1)
    assert played["provider_message_id"] == "m"
    assert other["position"] == 2


def test_only_what_the_business_sent_has_a_status():
    theirs, ours = described(
        Message("m", ANN, "INBOUND", "TEXT", "x", NOW, "history", status="READ"),
        Message("n", ANN, "OUTBOUND", "TEXT", "x", NOW, "history", status="READ"),
    )
    assert "status" not in theirs
    assert ours["status"] == "READ"


def test_a_message_in_a_group_has_an_author_and_a_thread():
    theirs, ours = described(
        Message("m", ANN, "INBOUND", "TEXT", "x", NOW, "live", group=GROUP),
        Message("n", None, "OUTBOUND", "TEXT", "x", NOW, "echo", group=GROUP),
    )
    assert theirs["contact_key"] != theirs["thread_key"] == ours["thread_key"]
    assert "contact_key" not in ours


@pytest.mark.parametrize(
    ("contact", "direction", "in_group", "expected"),
    [
        (ANN, "INBOUND", False, "contact"),
        (LID, "INBOUND", False, "contact"),
        (None, "OUTBOUND", False, "business"),
        (ANN, "OUTBOUND", True, "business"),
        (ANN, "INBOUND", True, "1"),
        (LID, "INBOUND", True, "33"),
    ],
)
def test_who_reacted_may_have_one_reaction(
    contact: Contact | None, direction: Any, in_group: bool, expected: str
):
    (document,) = described(Reaction("i", "m", contact, direction, "👍", NOW, in_group=in_group))
    assert document["data"] == {"by": expected, "emoji": "👍"}
    assert document["provider_message_id"] == "m"
    assert "contact_key" not in document


def test_a_call_is_an_entry_of_its_contact():
    (document,) = described(Call("c", ANN, "OUTBOUND", "ended", NOW, {"seconds": 7}))
    assert (document["type"], document["direction"], document["contact_key"]) == (
        "SYSTEM",
        "OUTBOUND",
        0,
    )
    assert document["metadata"] == {"call": {"step": "ended", "seconds": 7}}


def test_a_contact_that_is_spoken_of_is_named_by_itself_only_when_it_is():
    own, book = (
        fold([InboundItem("t1", 1, "c", ContactChange(ANN, NOW, is_own=is_own))]).contacts[0]
        for is_own in (True, False)
    )
    assert own["isRenamed"] is True
    assert "isRenamed" not in book
    assert own["name"] == book["name"] == "Ann"

"""Text messages of the Cloud API, and what all its items have in common."""

from typing import Any

import pytest

from chatsync.providers.inbound import Contact, Identity, Malformed, Message
from chatsync.providers.whatsapp_cloud import parse
from whatsapp_samples import (
    ALICE,
    AT,
    BUSINESS,
    INBOX_ID,
    PHONE,
    SOURCE,
    delivery,
    items,
    message,
    only,
)


def said(raw: dict[str, Any], *contacts: dict[str, Any]) -> Message:
    return only(Message, items(messages=[raw], contacts=list(contacts)))


def test_a_text_message_is_what_was_said_by_whom_and_when():
    assert said(message(), ALICE) == Message(
        provider_message_id="wamid.1",
        contact=Contact((PHONE,), "Alice", "5511990000001"),
        direction="INBOUND",
        type="TEXT",
        content="olá",
        occurred_at=AT,
        origin="live",
    )


@pytest.mark.parametrize(
    "body", [" ", "\n", "a" * 65_536, "👩‍👩‍👧", "\u202eabc", "<b>&amp;", "\ufffd"]
)
def test_text_is_kept_as_it_was_written(body: str):
    assert said(message(text={"body": body}), ALICE).content == body


def test_a_reply_names_what_it_answers():
    assert said(message(context={"id": "wamid.0", "from": "1"})).reply_to == "wamid.0"
    assert said(message(context={"id": "gBEGkYiEB1VXAglK1ZEqA1YKPrU"})).reply_to is not None
    # A dummy for what is not known.
    assert said(message(context={"id": "M0"})).reply_to is None
    for broken in (None, [], "wamid.0", {}, {"id": 5}, {"id": ""}, {"from": "1"}):
        assert said(message(context=broken)).reply_to is None


def test_a_forwarded_message_is_no_reply_and_says_how_often_it_was():
    once = said(message(context={"forwarded": True}))
    often = said(message(context={"frequently_forwarded": True}))
    assert (once.reply_to, once.metadata) == (None, {"forwarded": True})
    assert often.metadata == {"forwarded": True, "frequentlyForwarded": True}
    assert said(message(context={"forwarded": False, "id": "wamid.0"})).metadata == {}


def test_a_message_says_which_ad_or_product_it_came_from():
    referral = {"source_id": "9", "ctwa_clid": "x", "welcome_message": {"text": "Hi"}}
    product = {"catalog_id": "c", "product_retailer_id": "p"}
    context = {"from": BUSINESS, "id": "wamid.0", "referred_product": product}
    found = said(message(referral=referral, context=context))
    assert found.metadata == {
        "referral": {"sourceId": "9", "ctwaClid": "x", "welcomeMessage": {"text": "Hi"}},
        "referredProduct": {"catalogId": "c", "productRetailerId": "p"},
    }
    assert found.reply_to == "wamid.0"
    assert said(message(referral="ad", context={"referred_product": 5})).metadata == {}


def test_a_message_keeps_the_errors_that_came_with_it():
    errors = [
        {"code": 1, "title": "No media", "error_data": {"details": "gone"}},
        {"code": 2, "message": "Other", "details": "above"},
        5,
    ]
    assert said(message("image", image={"id": "m"}, errors=errors)).metadata == {
        "media": {"id": "m"},
        "errors": [
            {"code": 1, "title": "No media", "details": "gone"},
            {"code": 2, "title": "Other", "details": "above"},
        ],
    }


def test_a_message_in_a_group_belongs_to_the_group_and_its_author():
    found = said(message(group_id="Y2FwaV9ncm91cDo"), ALICE)
    assert found.group == Contact((Identity(f"inbox:{INBOX_ID}", "group", "Y2FwaV9ncm91cDo"),))
    assert found.contact == Contact((PHONE,), "Alice", "5511990000001")


def test_an_echo_is_what_the_business_sent_from_its_phone():
    echo = message(**{"from": BUSINESS, "to": "5511990000001"})
    found = only(Message, items("smb_message_echoes", message_echoes=[echo], contacts=[]))
    assert (found.direction, found.origin, found.content) == ("OUTBOUND", "echo", "olá")
    # The contact is the customer, not the business.
    assert found.contact == Contact((PHONE,), None, "5511990000001")


def test_an_echo_into_a_group_has_no_contact():
    echo = message(**{"from": BUSINESS, "to": "1203630", "group_id": "1203630"})
    found = only(Message, items("smb_message_echoes", message_echoes=[echo], contacts=[]))
    assert found.contact is None
    assert found.group is not None


@pytest.mark.parametrize(
    "broken",
    [
        None,
        5,
        "text",
        [],
        {},
        message(id=...),
        message(id=""),
        message(id=5),
        message(id="x" * 501),
        message(timestamp=...),
        message(timestamp=None),
        message(timestamp=""),
        message(timestamp="soon"),
        message(timestamp="-1700000000"),
        message(timestamp="0"),
        message(timestamp="1700000000000"),
        message(timestamp="²"),
        message(timestamp=1.7e9),
        message(timestamp=True),
        message(timestamp=[]),
        message(timestamp="9" * 5000),
    ],
    ids=lambda it: ascii(it)[:120],
)
def test_an_item_that_cannot_be_understood_is_malformed_alone(broken: object):
    first, middle, last = items(
        messages=[message(id="wamid.a"), broken, message(id="wamid.b")], contacts=[ALICE]
    )
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert (first.provider_message_id, last.provider_message_id) == ("wamid.a", "wamid.b")
    assert isinstance(middle, Malformed)
    assert middle.reason
    # The dead letter holds what was sent.
    assert middle.item == broken


def test_a_fault_of_the_parser_itself_costs_one_item():
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"deeper": deep}
    broken, good = items(messages=[message(referral=deep), message()])
    assert isinstance(broken, Malformed)
    assert broken.reason.startswith("the parser failed")
    assert isinstance(good, Message)


@pytest.mark.parametrize("timestamp", ["1700000000", 1_700_000_000], ids=repr)
def test_a_timestamp_may_be_text_or_a_number(timestamp: object):
    assert said(message(timestamp=timestamp), ALICE).occurred_at == AT


def test_a_message_from_nobody_is_malformed():
    assert "nobody" in only(Malformed, items(messages=[message(**{"from": ...})])).reason


@pytest.mark.parametrize("value", [None, 5, "x", [], True])
def test_a_change_without_a_value_is_malformed(value: object):
    raw = {"field": "messages", "value": value}
    assert only(Malformed, parse(delivery(raw), SOURCE)).item == raw


@pytest.mark.parametrize("value", [{}, {"messages": []}, {"messages": None}, {"news": [{}]}])
def test_a_change_in_which_nothing_is_known_is_kept_with_its_field(value: dict[str, Any]):
    raw = {"field": "group_update", "value": {"metadata": {"phone_number_id": "1"}} | value}
    item = only(Malformed, parse(delivery(raw), SOURCE))
    assert "group_update" in item.reason
    assert item.item == raw


@pytest.mark.parametrize("listed", [5, "x", True, {"id": 5}])
def test_what_stands_in_the_place_of_a_list_is_malformed(listed: object):
    assert only(Malformed, items(messages=listed, contacts=[ALICE])).item == listed


@pytest.mark.parametrize(
    ("broken", "item"),
    [
        ({"entry": [5]}, 5),
        ({"entry": [{"changes": 5}]}, {"changes": 5}),
        ({"entry": [{"id": "w", "changes": []}]}, {"id": "w", "changes": []}),
        ({"entry": [{"changes": ["x"]}]}, "x"),
        ({"entry": 5}, {"entry": 5}),
        ({}, {}),
    ],
    ids=ascii,
)
def test_what_is_no_entry_and_no_change_is_malformed_too(broken: dict[str, Any], item: object):
    assert only(Malformed, parse(broken, SOURCE)).item == item


def test_items_come_in_the_order_of_the_delivery():
    def of(number: int) -> dict[str, Any]:
        first, second = f"wamid.{number}a", f"wamid.{number}b"
        later = message(id=first, timestamp="1700000009")
        return {"value": {"messages": [later, message(id=second)], "contacts": [ALICE]}}

    two = delivery(of(1), of(2))
    two["entry"] += delivery(of(3))["entry"]
    ids = [it.provider_message_id for it in parse(two, SOURCE) if isinstance(it, Message)]
    assert ids == ["wamid.1a", "wamid.1b", "wamid.2a", "wamid.2b", "wamid.3a", "wamid.3b"]


def test_a_message_said_twice_in_a_delivery_is_two_items():
    # Only the database can tell that both are one.
    twice = items(messages=[message(), message()], contacts=[ALICE])
    assert twice == [said(message(), ALICE)] * 2


def test_hostile_contacts_do_not_stop_a_message():
    for contacts in (None, 5, {}, [None, 5], [None], [{}], [{"profile": 5}, {"wa_id": []}]):
        found = only(Message, items(messages=[message()], contacts=contacts))
        assert found.contact == Contact((PHONE,), None, "5511990000001")
    odd = {"profile": {"name": 5, "username": []}, "wa_id": {}}
    assert said(message(), odd).contact == Contact((PHONE,), None, "5511990000001")

"""What deliveries of the Cloud API say, by samples of our own."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsync.providers.inbound import Identity, Item, Malformed, Message, Status
from chatsync.providers.whatsapp_cloud import parse

ALICE = {"wa_id": "5511990000001", "profile": {"name": "Alice"}}
PHONE = Identity("tenant", "phone", "5511990000001")


def text(**changes: object) -> dict[str, Any]:
    message = {
        "id": "wamid.1",
        "from": "5511990000001",
        "timestamp": "1700000000",
        "type": "text",
        "text": {"body": "olá"},
    }
    return {name: value for name, value in (message | changes).items() if value is not ...}


def status(**changes: object) -> dict[str, Any]:
    said = {"id": "wamid.9", "status": "read", "timestamp": "1700000001", "recipient_id": "55119"}
    return {name: value for name, value in (said | changes).items() if value is not ...}


def delivery(*changes: object, account: object = "waba") -> dict[str, Any]:
    return {"entry": [{"id": account, "changes": list(changes)}]}


def items(**value: Any) -> list[Item]:
    change = {"field": "messages", "value": {"metadata": {"phone_number_id": "1"}, **value}}
    return parse(delivery(change), account_id=None)


def message(said: dict[str, Any], *contacts: dict[str, Any]) -> Message:
    (item,) = items(messages=[said], contacts=list(contacts))
    assert isinstance(item, Message), item
    return item


def malformed(said: list[object], kind: str = "messages") -> list[Malformed]:
    value: dict[str, Any] = {kind: said, "contacts": [ALICE]}
    found = items(**value)
    assert all(isinstance(item, Malformed) for item in found), found
    return [item for item in found if isinstance(item, Malformed)]


def test_a_text_message_is_what_was_said_by_whom_and_when():
    said = message(text(), ALICE)
    assert said.provider_message_id == "wamid.1"
    assert (said.direction, said.origin, said.type) == ("INBOUND", "live", "TEXT")
    assert said.content == "olá"
    assert said.occurred_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert said.contact.identities == (PHONE,)
    assert (said.contact.name, said.contact.phone_number) == ("Alice", "5511990000001")
    assert said.reply_to is None


@pytest.mark.parametrize(
    "body", [" ", "\n", "a" * 65_536, "👩‍👩‍👧", "\u202eabc", "<b>&amp;", "\ufffd"]
)
def test_text_is_kept_as_it_was_written(body: str):
    assert message(text(text={"body": body}), ALICE).content == body


def test_a_reply_names_what_it_answers_and_a_forwarded_message_does_not():
    assert message(text(context={"id": "wamid.0", "from": "1"}), ALICE).reply_to == "wamid.0"
    assert message(text(context={"forwarded": True}), ALICE).reply_to is None
    assert message(text(context=None), ALICE).reply_to is None
    assert message(text(context=[]), ALICE).reply_to is None


@pytest.mark.parametrize("kind", ["image", "no such thing", "", None, 5, ...])
def test_a_message_of_an_unknown_type_keeps_its_place(kind: object):
    said = message(text(type=kind, text=...), ALICE)
    assert (said.type, said.content) == ("UNSUPPORTED", None)


def test_an_echo_is_what_the_business_sent_from_its_phone():
    echo = {**text(), "from": "551133330000", "to": "5511990000001"}
    (item,) = items(message_echoes=[echo], contacts=[])
    assert isinstance(item, Message)
    assert (item.direction, item.origin, item.content) == ("OUTBOUND", "echo", "olá")
    # The contact is the customer, not the business.
    assert item.contact.identities == (PHONE,)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("sent", "SENT"),
        ("delivered", "DELIVERED"),
        ("read", "READ"),
        ("played", "READ"),
        ("failed", "FAILED"),
    ],
)
def test_a_status_says_how_far_a_message_has_come(given: str, known: str):
    (item,) = items(statuses=[status(status=given)])
    assert item == Status("wamid.9", known, datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC))  # pyright: ignore[reportArgumentType]


def test_a_failure_says_why():
    error = {"code": 7, "title": "Undeliverable", "error_data": {"details": "no such number"}}
    (item,) = items(statuses=[status(status="failed", errors=[error, {"code": 8}])])
    assert isinstance(item, Status)
    assert item.error == {"code": 7, "title": "Undeliverable", "details": "no such number"}
    (item,) = items(statuses=[status(status="failed", errors=[{"message": "gone"}])])
    assert isinstance(item, Status)
    assert item.error == {"code": None, "title": "gone", "details": None}


@pytest.mark.parametrize("errors", [None, [], {}, "x", [5], [None]])
def test_a_failure_without_a_readable_reason_is_still_a_failure(errors: object):
    (item,) = items(statuses=[status(status="failed", errors=errors)])
    assert isinstance(item, Status)
    assert (item.status, item.error) == ("FAILED", None)


@pytest.mark.parametrize("given", ["Read", "READ", "RINGING", "deleted", "", None, 5, [], {}, ...])
def test_an_unknown_status_is_no_status(given: object):
    (item,) = malformed([status(status=given)], "statuses")
    assert "status" in item.reason


@pytest.mark.parametrize(
    "broken",
    [
        None,
        5,
        "text",
        [],
        {},
        text(id=...),
        text(id=""),
        text(id=5),
        text(id="x" * 501),
        text(timestamp=...),
        text(timestamp=None),
        text(timestamp=""),
        text(timestamp="soon"),
        text(timestamp="-1700000000"),
        text(timestamp="0"),
        text(timestamp="1700000000000"),
        text(timestamp=1.7e9),
        text(timestamp=True),
        text(timestamp=[]),
        text(timestamp="9" * 5000),
        text(text=...),
        text(text=None),
        text(text="olá"),
        text(text=[]),
        text(text={}),
        text(text={"body": None}),
        text(text={"body": 5}),
    ],
    ids=lambda it: ascii(it)[:120],
)
def test_an_item_that_cannot_be_understood_is_malformed_alone(broken: object):
    first, middle, last = items(
        messages=[text(id="wamid.a"), broken, text(id="wamid.b")], contacts=[ALICE]
    )
    assert isinstance(first, Message)
    assert isinstance(last, Message)
    assert (first.provider_message_id, last.provider_message_id) == ("wamid.a", "wamid.b")
    assert isinstance(middle, Malformed)
    assert middle.reason
    # The dead letter holds what was sent.
    assert middle.item == broken


@pytest.mark.parametrize("timestamp", ["1700000000", 1_700_000_000], ids=repr)
def test_a_timestamp_may_be_text_or_a_number(timestamp: object):
    assert message(text(timestamp=timestamp), ALICE).occurred_at.timestamp() == 1_700_000_000


def test_a_message_from_nobody_is_malformed():
    (item,) = items(messages=[text(**{"from": ...})])
    assert isinstance(item, Malformed)
    assert "nobody" in item.reason


@pytest.mark.parametrize("value", [None, 5, "x", [], True])
def test_a_change_without_a_value_is_malformed(value: object):
    (item,) = parse(delivery({"field": "messages", "value": value}), account_id=None)
    assert isinstance(item, Malformed)


@pytest.mark.parametrize("value", [{}, {"messages": []}, {"messages": None}, {"errors": [{}]}])
def test_a_change_in_which_nothing_is_known_is_kept_with_its_field(value: dict[str, Any]):
    (item,) = parse(delivery({"field": "account_update", "value": value}), account_id=None)
    assert isinstance(item, Malformed)
    assert "account_update" in item.reason
    assert item.item == {"field": "account_update", "value": value}


@pytest.mark.parametrize("broken", [{}, {"entry": 5}, {"entry": [5]}, {"entry": [{"changes": 5}]}])
def test_a_delivery_without_anything_has_no_items(broken: dict[str, Any]):
    assert parse(broken, account_id=None) == []


def test_items_come_in_the_order_of_the_delivery():
    def of(number: int) -> dict[str, Any]:
        said = [text(id=f"wamid.{number}a", timestamp="1700000009"), text(id=f"wamid.{number}b")]
        return {"value": {"messages": said, "contacts": [ALICE]}}

    two = delivery(of(1), of(2))
    two["entry"] += delivery(of(3))["entry"]
    ids = [it.provider_message_id for it in parse(two, account_id=None) if isinstance(it, Message)]
    assert ids == ["wamid.1a", "wamid.1b", "wamid.2a", "wamid.2b", "wamid.3a", "wamid.3b"]


def test_a_message_said_twice_in_a_delivery_is_two_items():
    # Only the database can tell that both are one.
    assert items(messages=[text(), text()], contacts=[ALICE])[0] == message(text(), ALICE)
    assert len(items(messages=[text(), text()], contacts=[ALICE])) == 2


def test_hostile_contacts_do_not_stop_a_message():
    for contacts in (None, 5, {}, [None, 5], [{}], [{"profile": 5}], [{"profile": {"name": 5}}]):
        (item,) = items(messages=[text()], contacts=contacts)
        assert isinstance(item, Message)
        assert item.contact.identities == (PHONE,)
        assert item.contact.name is None

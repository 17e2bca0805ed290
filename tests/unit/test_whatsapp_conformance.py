"""Recorded deliveries of the Cloud API, kept outside the checkout: what they say is what we read.

CHATSYNC_FIXTURES names their folder. Its _expected.json lists, per file, the facts that are in it.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatsync.providers.body import parse_json
from chatsync.providers.inbound import (
    Call,
    Contact,
    ContactChange,
    Edit,
    Ignored,
    Item,
    Message,
    Notice,
    Reaction,
    Revoke,
    Status,
)
from chatsync.providers.whatsapp_cloud import parse, signature_fits, split
from whatsapp_samples import SOURCE

if "CHATSYNC_FIXTURES" not in os.environ:
    pytest.skip(
        "CHATSYNC_FIXTURES does not name a folder of recorded deliveries", allow_module_level=True
    )

FOLDER = Path(os.environ["CHATSYNC_FIXTURES"]) / "whatsapp_cloud"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "_expected.json").read_bytes())
NAMES = [name for name in EXPECTED if "/" not in name]
SIGNATURES: dict[str, Any] = json.loads(
    (FOLDER / "vectors" / "x_hub_signature_256.json").read_bytes()
)

Facts = dict[str, Any]
# What is said of an item without being a fact of ours: an Ignored has nothing but its reason, and
# whom a status or an edit is about, its message says.
UNTOLD = {
    "ignored": {"message_id", "timestamp", "contact", "conversation_origin", "pricing", "reason"},
    "status": {"contact"},
    "edit": {"contact", "direction", "origin", "type"},
    "revoke": {"contact", "direction", "origin"},
    "reaction": {"origin"},
}


def found_in(body: bytes) -> list[tuple[str | None, Item]]:
    """What a delivery holds, each with the number it came to, as gateway and worker read it."""
    return [
        (part.phone_number_id, item)
        for part in split(parse_json(body))
        for item in parse(parse_json(part.body()), SOURCE)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_delivery_is_read_as_what_it_says(name: str):
    found = found_in((FOLDER / name).read_bytes())
    expected = [
        {key: value for key, value in each.items() if key not in UNTOLD.get(each["kind"], ())}
        for each in EXPECTED[name]["expect"]
    ]
    assert len(found) == len(expected), found
    for (number, item), facts in zip(found, expected, strict=True):
        told = described(item) | ({} if number is None else {"channel": number})
        # Every fact that is expected, and no other of those that a fixture would name.
        assert {key: told.get(key) for key in facts} == facts
        surplus = {key for key, value in told.items() if value not in (None, False)} - set(facts)
        assert surplus <= SURPLUS.get(facts["kind"], set()), (surplus, told)


# Facts of ours that the recorded deliveries do not list where they hold.
SURPLUS = {
    "system": {"subtype"},
    "call": {"direction", "event", "status"},
    "channel_error": {"timestamp"},
    "history_error": {"timestamp"},
    "account": {"timestamp"},
    "message": {"subtype"},
}


def described(item: Item) -> Facts:
    """An item in the words of the fixtures; None and False stand for what is not said."""
    describe: dict[type[Any], Callable[[Any], Facts]] = {
        Message: message,
        Reaction: reaction,
        Edit: edit,
        Revoke: revoke,
        Status: status,
        Call: call,
        ContactChange: preference,
        Notice: notice,
        Ignored: ignored,
    }
    assert type(item) in describe, item
    return describe[type(item)](item)


def message(item: Message) -> Facts:
    metadata = item.metadata
    is_caption = item.type in ("IMAGE", "VIDEO", "AUDIO", "DOCUMENT")
    order = metadata.get("order")
    is_moved = item.contact is not None and item.contact.is_new_number
    return {
        "kind": "system" if item.type == "SYSTEM" else "message",
        "message_id": item.provider_message_id,
        "type": item.type.lower(),
        "caption" if is_caption else "text": item.content,
        "direction": item.direction.lower(),
        "origin": item.origin,
        "timestamp": item.occurred_at.timestamp(),
        "contact": contact(item.contact),
        "new_phone": item.contact.phone_number if is_moved and item.contact else None,
        "group_id": item.group and item.group.identities[0].value,
        "reply_to": item.reply_to,
        "order_items": order and len(order["items"]),
        "referral": metadata.get("referral", {}).get("sourceId"),
        "error_codes": [error["code"] for error in metadata.get("errors", ())] or None,
        "reply_value": metadata.get("replyValue"),
        "frequently_forwarded": metadata.get("frequentlyForwarded"),
        **{
            key: metadata.get(key)
            for key in ("subtype", "media", "location", "cards", "form", "forwarded")
        },
    }


def reaction(item: Reaction) -> Facts:
    return {
        "kind": "reaction",
        "message_id": item.item_id,
        "target_id": item.target_id,
        "emoji": item.emoji,
        "direction": item.direction.lower(),
        "contact": contact(item.contact),
        "timestamp": item.occurred_at.timestamp(),
    }


def edit(item: Edit) -> Facts:
    return {
        "kind": "edit",
        "message_id": item.item_id,
        "target_id": item.target_id,
        "caption" if "media" in item.metadata else "text": item.content,
        "media": item.metadata.get("media"),
        "timestamp": item.occurred_at.timestamp(),
    }


def revoke(item: Revoke) -> Facts:
    return {
        "kind": "revoke",
        "message_id": item.item_id,
        "target_id": item.target_id,
        "timestamp": item.occurred_at.timestamp(),
    }


def status(item: Status) -> Facts:
    pricing = item.details.get("pricing")
    return {
        "kind": "status",
        "message_id": item.provider_message_id,
        "status": item.status.lower(),
        "timestamp": item.occurred_at.timestamp(),
        "error_codes": item.error and [item.error["code"]],
        "conversation_origin": item.details.get("conversationOrigin"),
        "callback_data": item.details.get("callbackData"),
        "group_id": item.details.get("recipient", {}).get("groupId"),
        "pricing": pricing
        and {
            "billable": pricing["billable"],
            "pricing_model": pricing["pricingModel"],
            "category": pricing["category"],
        },
    }


def call(item: Call) -> Facts:
    return {
        "kind": "call",
        "call_id": item.call_id,
        "event": {"offered": "connect", "ended": "terminate"}.get(item.step),
        "status": item.details.get("status"),
        "duration": item.details.get("seconds"),
        "direction": item.direction.lower(),
        # The fixtures name but the number of a caller.
        "contact": {"phone": item.contact.phone_number},
        "timestamp": item.occurred_at.timestamp(),
    }


def preference(item: ContactChange) -> Facts:
    ((category, value),) = item.preferences.items()
    return {
        "kind": "preference",
        "category": category,
        "value": value,
        "contact": {"phone": item.contact.phone_number},
        "timestamp": item.occurred_at.timestamp(),
    }


def notice(item: Notice) -> Facts:
    facts: Facts = {"kind": item.kind, "timestamp": item.occurred_at.timestamp()}
    if item.kind == "account":
        news = {"field": item.data["field"], "account_id": item.data["accountId"]}
        return facts | news | {"event": item.title}
    return facts | {"error_codes": [item.data["code"]]}


def ignored(item: Ignored) -> Facts:
    return {"kind": "ignored", "status": next(iter(set(item.reason.split()) & {"deleted"}), None)}


def contact(who: Contact | None) -> Facts | None:
    if who is None:
        return None
    by_kind: Facts = {}
    for identity in who.identities:
        # The first one is the old number, where a number changed.
        by_kind.setdefault(identity.kind, identity.value)
    if who.is_new_number:
        assert who.phone_number in {it.value for it in who.identities if it.kind == "phone"}
    else:
        assert len(by_kind) == len(who.identities), "two ids of one kind for one person"
        assert by_kind.get("phone") == who.phone_number
    return by_kind | ({"name": who.name} if who.name else {}) | who.profile


@pytest.mark.parametrize("vector", SIGNATURES["vectors"], ids=lambda vector: vector["name"])
def test_a_signature_is_judged_as_recorded(vector: dict[str, Any]):
    header = vector["headers"].get("X-Hub-Signature-256")
    fits = signature_fits(header, vector["body"].encode(), [SIGNATURES["app_secret"]])
    assert fits is vector["valid"]


def test_the_fixtures_hold_what_this_is_about():
    # A folder that lost its files, or renamed its kinds, would otherwise pass.
    kinds = {each["kind"] for name in NAMES for each in EXPECTED[name]["expect"]}
    assert len(NAMES) >= 60
    assert {"message", "reaction", "edit", "revoke", "status", "call", "system"} <= kinds
    assert {"preference", "account", "channel_error", "history_error", "ignored"} <= kinds
    assert {vector["valid"] for vector in SIGNATURES["vectors"]} == {True, False}

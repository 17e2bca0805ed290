"""Recorded deliveries of providers, kept outside the checkout: what they say is what we read.

CHATSYNC_FIXTURES names their folder. Its _expected.json lists, per file, what is in it.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatsync.providers.inbound import Contact, Item, Malformed, Message, Status, parse_json
from chatsync.providers.whatsapp_cloud import parse, signature_fits, split

# How the fixtures name what chatsync reads today; every other kind has its own issue.
STATUSES = {
    "sent": "SENT",
    "delivered": "DELIVERED",
    "read": "READ",
    "played": "READ",
    "failed": "FAILED",
}


if "CHATSYNC_FIXTURES" not in os.environ:
    pytest.skip(
        "CHATSYNC_FIXTURES does not name a folder of recorded deliveries", allow_module_level=True
    )

FOLDER = Path(os.environ["CHATSYNC_FIXTURES"]) / "whatsapp_cloud"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "_expected.json").read_bytes())
SIGNATURES: dict[str, Any] = json.loads(
    (FOLDER / "vectors" / "x_hub_signature_256.json").read_bytes()
)


def is_covered(expected: dict[str, Any]) -> bool:
    is_text = expected["kind"] == "message" and expected["type"] == "text"
    return is_text or expected["kind"] == "status"


# The deliveries in which everything is a text message or a status.
COVERED = [
    name
    for name, entry in EXPECTED.items()
    if entry["expect"] and all(is_covered(each) for each in entry["expect"])
]


def found_in(body: bytes) -> list[tuple[str | None, Item]]:
    """What a delivery holds, each with the number it came to, as gateway and worker read it."""
    return [
        (part.phone_number_id, item)
        for part in split(parse_json(body))
        for item in parse(parse_json(part.body()), account_id=None)
    ]


@pytest.mark.parametrize("name", COVERED)
def test_a_recorded_delivery_is_read_as_what_it_says(name: str):
    found = found_in((FOLDER / name).read_bytes())
    assert [described(number, item) for number, item in found] == [
        described_fixture(each) for each in EXPECTED[name]["expect"]
    ]


def described(number: str | None, item: Item) -> dict[str, Any]:
    match item:
        case Message():
            return {
                "channel": number,
                "id": item.provider_message_id,
                "contact": described_contact(item.contact),
                "text": item.content,
                "type": item.type,
                "direction": item.direction,
                "origin": item.origin,
                "at": item.occurred_at,
                "reply_to": item.reply_to,
            }
        case Status():
            return {
                "channel": number,
                "id": item.provider_message_id,
                "status": item.status,
                "at": item.occurred_at,
                "error": item.error and item.error["code"],
            }
        case Malformed():
            return {"malformed": item.reason}


def described_contact(contact: Contact) -> dict[str, str]:
    by_kind = {identity.kind: identity.value for identity in contact.identities}
    assert len(by_kind) == len(contact.identities), "two ids of one kind for one person"
    assert by_kind.get("phone") == contact.phone_number
    return by_kind | ({} if contact.name is None else {"name": contact.name})


def described_fixture(expected: dict[str, Any]) -> dict[str, Any]:
    common = {
        "channel": expected["channel"],
        "id": expected["message_id"],
        "at": datetime.fromtimestamp(expected["timestamp"], UTC),
    }
    if expected["kind"] == "status":
        return common | {
            "status": STATUSES[expected["status"]],
            "error": next(iter(expected.get("error_codes", [])), None),
        }
    kept = {"phone", "bsuid", "parent_bsuid", "name"}
    return common | {
        "contact": {key: value for key, value in expected["contact"].items() if key in kept},
        "text": expected["text"],
        "type": "TEXT",
        "direction": expected["direction"].upper(),
        "origin": expected["origin"],
        "reply_to": expected.get("reply_to"),
    }


@pytest.mark.parametrize("vector", SIGNATURES["vectors"], ids=lambda vector: vector["name"])
def test_a_signature_is_judged_as_recorded(vector: dict[str, Any]):
    header = vector["headers"].get("X-Hub-Signature-256")
    fits = signature_fits(header, vector["body"].encode(), [SIGNATURES["app_secret"]])
    assert fits is vector["valid"]


def test_the_fixtures_hold_what_this_is_about():
    # A folder that lost its files, or renamed its kinds, would otherwise pass.
    assert len(COVERED) >= 15
    assert {vector["valid"] for vector in SIGNATURES["vectors"]} == {True, False}


def test_nothing_recorded_breaks_the_parser():
    # What is not understood yet must become a dead letter, never an exception.
    names = [name for name in EXPECTED if "/" not in name]
    assert names
    for name in names:
        assert found_in((FOLDER / name).read_bytes()), name

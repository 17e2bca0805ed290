"""Recorded deliveries of Evolution's, kept outside the checkout: what they say is what we read.

CHATSYNC_FIXTURES names their folder. Its _expected.json lists, per file, what is in it.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatsync.providers.body import parse_json
from chatsync.providers.evolution import instance, parse, redacted
from chatsync.providers.inbound import (
    Call,
    Connection,
    Contact,
    ContactChange,
    Edit,
    Ignored,
    Item,
    Message,
    Reaction,
    ReadByBusiness,
    Revoke,
    Source,
    Status,
)

if "CHATSYNC_FIXTURES" not in os.environ:
    pytest.skip(
        "CHATSYNC_FIXTURES does not name a folder of recorded deliveries", allow_module_level=True
    )

FOLDER = Path(os.environ["CHATSYNC_FIXTURES"]) / "evolution"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "_expected.json").read_bytes())
# Answers to what we send are no deliveries.
DELIVERIES = [name for name in EXPECTED if not name.startswith("api/")]
SOURCE = Source(7, None, datetime(2026, 9, 1, tzinfo=UTC))
# How the fixtures name kinds of which chatsync has one, or none.
KINDS = {"qrcode": "connection", "presence": "ignored", "chat": "ignored"}
STEPS = {"offer": "offered"}
# Facts that chatsync leaves out on purpose: of a status, a deletion or a read message only the
# message counts; presences and a provider's own counters are not kept; a reason is for people.
LEFT_OUT = {
    "status": {"contact"},
    "revoke": {"contact"},
    "read_by_business": {"contact"},
    "edit": {"type"},
    "ignored": {
        *("channel", "message_id", "origin", "direction", "timestamp", "contact", "reason"),
        *("presence", "provider_unread"),
    },
    "reaction": {"origin"},
}


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_recorded_delivery_is_read_as_what_it_says(name: str):
    delivery = parse_json((FOLDER / name).read_bytes())
    expected = EXPECTED[name]["expect"]
    found = parse(delivery, SOURCE)
    assert len(found) == len(expected)
    for item, facts in zip(found, expected, strict=True):
        told = {"channel": instance(delivery), **described(item)}
        wanted = wanted_facts(facts)
        assert {fact: told.get(fact, ...) for fact in wanted} == wanted


@pytest.mark.parametrize("name", DELIVERIES)
def test_a_recorded_delivery_is_stored_without_its_keys(name: str):
    stored = redacted(parse_json((FOLDER / name).read_bytes()))
    assert stored.get("apikey") is None
    assert stored.get("api_key") is None


def wanted_facts(facts: dict[str, Any]) -> dict[str, Any]:
    said: str = facts["kind"]
    kind = KINDS.get(said, said)
    wanted = {name: value for name, value in facts.items() if name not in LEFT_OUT.get(kind, ())}
    wanted["kind"] = kind
    if facts.get("direction") == "outbound" and facts.get("origin") == "live":
        # Seen again or written on the phone: not what an agent just sent.
        wanted["origin"] = "echo"
    if kind == "call":
        wanted["status"] = STEPS[facts["status"]]
    if "timestamp" in wanted:
        wanted["timestamp"] = datetime.fromtimestamp(facts["timestamp"], UTC)
    return wanted


def described(item: Item) -> dict[str, Any]:
    match item:
        case Message():
            return described_message(item)
        case Reaction():
            return {
                "kind": "reaction",
                "message_id": item.item_id,
                "target_id": item.target_id,
                "contact": described_contact(item.contact),
                "direction": item.direction.lower(),
                "emoji": item.emoji,
                "timestamp": item.occurred_at,
            }
        case Status():
            kind, status = "status", item.status.lower()
            return {"kind": kind, "message_id": item.provider_message_id, "status": status}
        case ReadByBusiness():
            return {"kind": "read_by_business", "message_id": item.provider_message_id}
        case Revoke():
            return {"kind": "revoke", "target_id": item.target_id}
        case Edit():
            at = item.occurred_at
            return {
                "kind": "edit", "target_id": item.target_id, "text": item.content, "timestamp": at,
            }  # fmt: skip
        case Connection():
            return {
                "kind": "connection",
                "state": item.state,
                "reason_code": item.reason,
                "own_phone": item.phone_number,
                "has_image": bool(item.qrcode and item.qrcode["base64"]),
            }
        case ContactChange():
            avatar = item.contact.profile.get("avatarUrl")
            return {
                "kind": "contact", "contact": described_contact(item.contact), "avatar": avatar,
            }  # fmt: skip
        case Call():
            return {
                "kind": "call",
                "call_id": item.call_id,
                "status": item.step,
                "direction": item.direction.lower(),
                "contact": described_contact(item.contact),
            }
        case Ignored():
            return {"kind": "ignored"}
        case _:
            return {"kind": str(item)}


def described_message(item: Message) -> dict[str, Any]:
    metadata = item.metadata
    media = metadata.get("media")
    return {
        "kind": "message",
        "origin": item.origin,
        "direction": item.direction.lower(),
        "message_id": item.provider_message_id,
        "timestamp": item.occurred_at,
        "contact": described_contact(item.contact),
        "group_id": item.group.identities[0].value if item.group else None,
        "type": item.type.lower(),
        "subtype": metadata.get("subtype"),
        "text": item.content,
        "caption": item.content,
        "reply_to": item.reply_to,
        "reply_value": metadata.get("replyValue"),
        "status": item.status and item.status.lower(),
        "location": metadata.get("location"),
        "cards": [{"name": card["name"]} for card in metadata.get("cards", [])],
        # The hash is kept too, but not listed.
        "media": media and {name: value for name, value in media.items() if name != "sha256"},
    }


def described_contact(contact: Contact | None) -> dict[str, Any] | None:
    if contact is None:
        return None
    names = {each.kind: each.value for each in contact.identities}
    return names | ({"name": contact.name} if contact.name else {})

"""The facts of recorded deliveries as agents see them: where each kind of item shows, and how."""

import json
from datetime import UTC, datetime
from typing import Any

from service.payloads import delivery, echoed
from service.recorded import ALL, INSTANCE, NUMBER, Facts, Recorded, World
from service.screen import Entity

# What is said of a message that was there before.
LATE = {"status": "message_id", "read_by_business": "message_id"} | dict.fromkeys(
    ("reaction", "edit", "revoke"), "target_id"
)
# Presence and the provider's own counters are not kept.
NOTHING = {"ignored", "presence", "chat"}
STEPS = {"connect": "offered", "offer": "offered", "terminate": "ended", "ringing": "ringing"}
PROVIDER_UNREAD = "provider_unread"


def targets(recorded: Recorded) -> list[Recorded]:
    """The deliveries that bring the messages of which one speaks: recorded, or else made."""
    here = {facts["message_id"] for facts in recorded.facts if facts["kind"] in ("message",)}
    wanted = [facts[LATE[facts["kind"]]] for facts in recorded.facts if facts["kind"] in LATE]
    return [_target(recorded.provider, one) for one in dict.fromkeys(wanted) if one not in here]


def _target(provider: str, message_id: str) -> Recorded:
    for other in ALL:
        for facts in other.facts:
            if (
                other.provider == provider
                and len(other.facts) == 1
                and (facts["kind"] == "message" and facts["message_id"] == message_id)
            ):
                return other
    return (_echo_of_meta if provider == "whatsapp_cloud" else _echo_of_evolution)(message_id)


def _echo_of_meta(message_id: str) -> Recorded:
    to = "15550101001"
    said = echoed("Hello", message_id, to, 1_690_000_000)
    body = delivery(said, number=NUMBER, customer=to, name="Alice Example")
    return Recorded("whatsapp_cloud", "echo", json.dumps(body).encode(), [])


def _echo_of_evolution(message_id: str) -> Recorded:
    key = {"remoteJid": "5511900000001@s.whatsapp.net", "fromMe": True, "id": message_id}
    data = {"key": key, "message": {"conversation": "Olá"}, "messageTimestamp": 1_690_000_000}
    body = {"event": "messages.upsert", "instance": INSTANCE, "data": data}
    return Recorded("evolution", "echo", json.dumps(body).encode(), [])


def wire_time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


async def check(world: World, recorded: Recorded, events: list[Entity]) -> None:
    """Every fact of a delivery shows where agents look for it."""
    page = await world.snapshot()
    messages = {message.get("providerMessageId"): message for message in page["messages"]}
    for facts in recorded.facts:
        match facts["kind"]:
            case "message" | "system":
                await check_message(world, recorded, facts, messages[facts["message_id"]], page)
            case "reaction":
                check_reaction(facts, messages[facts["target_id"]])
            case "edit":
                check_edit(facts, messages[facts["target_id"]])
            case "revoke":
                assert messages[facts["target_id"]]["metadata"]["deletedAt"]
            case "status":
                check_status(facts, messages[facts["message_id"]], recorded)
            case "read_by_business":
                message = messages[facts["message_id"]]
                assert message["status"] == "READ"
                (conversation,) = page["conversations"]
                assert conversation["unreadCount"] == 0
            case "call":
                check_call(facts, messages[facts["call_id"]])
            case "preference":
                (event,) = [event for event in events if event["type"] == "contact:updated"]
                contact = event["data"]["contact"]
                assert contact["preferences"] == {facts["category"]: facts["value"]}
                assert contact["phoneNumber"] == facts["contact"]["phone"]
            case "contact":
                (event,) = [event for event in events if event["type"] == "contact:updated"]
                contact = event["data"]["contact"]
                assert contact["name"] == facts["contact"]["name"]
                assert contact["phoneNumber"] == facts["contact"]["phone"]
                assert contact.get("avatarUrl") == facts.get("avatar")
            case "connection":
                check_connection(world, facts, events, page)
            case "qrcode":
                check_qrcode(world, events, page)
            case "channel_error" | "history_error" | "account":
                check_notice(world, facts, events)
            case kind:
                assert kind in NOTHING, kind


async def check_message(
    world: World, recorded: Recorded, facts: Facts, message: Entity, page: Entity
) -> None:
    metadata = message["metadata"]
    assert message["type"] == facts["type"].upper()
    assert message["content"] == facts.get("caption", facts.get("text"))
    assert message["direction"] == facts["direction"].upper()
    assert message["timestamp"] == wire_time(facts["timestamp"])
    assert message["inboxId"] == world.inboxes[facts["channel"]]
    is_echo = facts["direction"] == "outbound" and facts["origin"] == "live"
    assert message["origin"] == ("echo" if is_echo else facts["origin"])
    assert message["status"] == first_status(facts)
    if "reply_to" in facts:
        by_id = {one["id"]: one.get("providerMessageId") for one in page["messages"]}
        answered = by_id[message["replyTo"]] if "replyTo" in message else metadata["replyTo"]
        assert answered == facts["reply_to"]
    for name in ("location", "form", "forwarded"):
        assert metadata.get(name) == facts.get(name), name
    told = [{name: card[name] for name in wanted} for card, wanted in _cards(facts, metadata)]
    assert told == facts.get("cards", [])
    assert metadata.get("frequentlyForwarded") == facts.get("frequently_forwarded")
    assert metadata.get("replyValue") == facts.get("reply_value")
    assert metadata.get("subtype") == facts.get("subtype")
    media = metadata.get("media", {})
    assert {name: media.get(name) for name in facts.get("media", {})} == facts.get("media", {})
    assert metadata.get("referral", {}).get("sourceId") == facts.get("referral")
    assert len(metadata.get("order", {}).get("items", [])) == facts.get("order_items", 0)
    codes = [error["code"] for error in metadata.get("errors", [])]
    assert codes == facts.get("error_codes", [])
    await check_people(world, facts, message, page)


def _cards(facts: Facts, metadata: Entity) -> list[tuple[Entity, Entity]]:
    return list(zip(metadata.get("cards", []), facts.get("cards", []), strict=True))


def first_status(facts: Facts) -> str:
    if facts["direction"] == "outbound":
        return facts.get("status", "sent").upper()
    return "READ" if facts["kind"] == "system" else "DELIVERED"


async def check_people(world: World, facts: Facts, message: Entity, page: Entity) -> None:
    conversation = await world.read(f"/api/conversations/{message['conversationId']}")
    conversation = conversation.get("conversation", conversation)
    contacts = {contact["id"]: contact for contact in page["contacts"]}
    thread = contacts[conversation["contact"]["id"]]
    if "group_id" in facts:
        named = [(one["kind"], one["value"]) for one in thread["identities"]]
        assert named == [("group", facts["group_id"])]
        assert message["contact"]["id"] != thread["id"]
        assert message["contact"]["name"] == facts["contact"]["name"]
        assert message["contact"]["phoneNumber"] == facts["contact"].get("phone")
        return
    assert message["contact"] == conversation["contact"]
    known = dict(facts["contact"])
    number = facts.get("new_phone", known.get("phone"))
    assert message["contact"]["phoneNumber"] == number
    assert message["contact"]["name"] == known.pop("name", None)
    assert thread.get("username") == known.pop("username", None)
    found = {(one["kind"], one["value"]) for one in thread["identities"]}
    assert set(known.items()) <= found
    extra = {("phone", facts["new_phone"])} if "new_phone" in facts else set()
    assert found - set(known.items()) == extra


def check_reaction(facts: Facts, message: Entity) -> None:
    by = "contact" if facts["direction"] == "inbound" else "business"
    wanted = {"emoji": facts["emoji"], "timestamp": wire_time(facts["timestamp"]), "by": by}
    assert message["metadata"]["reactions"] == ([wanted] if facts["emoji"] else [])


def check_edit(facts: Facts, message: Entity) -> None:
    assert message["content"] == facts.get("caption", facts.get("text"))
    assert message["metadata"]["editedAt"] == wire_time(facts["timestamp"])
    if "media" in facts:
        assert message["metadata"]["media"] == facts["media"]


def check_status(facts: Facts, message: Entity, recorded: Recorded) -> None:
    ranks = ["pending", "sent", "failed", "delivered", "read", "played"]
    best = max(
        (one["status"] for one in recorded.facts if one.get("message_id") == facts["message_id"]),
        key=ranks.index,
    )
    assert message["status"] == ("READ" if best == "played" else best.upper())
    assert ("playedAt" in message["metadata"]) == (best == "played")
    if "error_codes" in facts:
        assert [message["error"]["code"]] == facts["error_codes"]


def check_call(facts: Facts, message: Entity) -> None:
    call: dict[str, Any] = message["metadata"]["call"]
    assert message["type"] == "SYSTEM"
    assert call["step"] == STEPS[facts.get("event", facts.get("status", ""))]
    assert message["direction"] == facts.get("direction", "outbound").upper()
    assert message["contact"]["phoneNumber"] == facts["contact"]["phone"]
    if "duration" in facts:
        assert call["seconds"] == facts["duration"]
    if "timestamp" in facts:
        assert message["timestamp"] == wire_time(facts["timestamp"])


def check_connection(world: World, facts: Facts, events: list[Entity], page: Entity) -> None:
    (inbox,) = [one for one in page["inboxes"] if one["id"] == world.inboxes[facts["channel"]]]
    (event,) = [event for event in events if event["type"] == "connection:update"]
    wanted = {
        "inboxId": inbox["id"],
        "state": facts["state"],
        "reason": facts["reason_code"],
        "version": inbox["version"],
    }
    assert event["data"] == wanted
    assert (inbox["state"], inbox["reason"]) == (facts["state"], facts["reason_code"])


def check_qrcode(world: World, events: list[Entity], page: Entity) -> None:
    (inbox,) = [one for one in page["inboxes"] if one["id"] == world.inboxes[INSTANCE]]
    (event,) = [event for event in events if event["type"] == "qrcode:update"]
    assert event["data"]["qrcode"]["base64"].startswith("data:image/png")
    assert event["data"]["qrcode"] == inbox["qrcode"]
    assert event["data"]["inboxId"] == inbox["id"]


def check_notice(world: World, facts: Facts, events: list[Entity]) -> None:
    notices = [event["data"]["notice"] for event in events if "notice" in event["data"]]
    (notice,) = [notice for notice in notices if notice["kind"] == facts["kind"]]
    if "error_codes" in facts:
        assert [notice["data"]["code"]] == facts["error_codes"]
    else:
        assert notice["data"]["field"] == facts["field"]
        assert notice["title"] == facts["event"]

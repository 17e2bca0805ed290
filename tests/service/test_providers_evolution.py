"""Evolution end to end: what only its deliveries can say."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for
from service.payloads import Frame

KEY = "key-of-the-instance"
INSTANCE = "shop"
ANA = "15550001@s.whatsapp.net"
LID = "200000000000001@lid"
GROUP = "120363000000000001@g.us"
AT = 1_790_000_000


@pytest.fixture
async def gateway(database_url: str) -> AsyncGenerator[Gateway]:
    create_inbox(database_url, number=INSTANCE, provider="evolution", api_key=KEY)
    async with running_gateway(settings_for(database_url)) as running:
        yield running


async def post(gateway: Gateway, event: str, data: object) -> None:
    body = {"event": event, "instance": INSTANCE, "data": data}
    answer = await gateway.http.post(
        "/webhooks/evolution", content=json.dumps(body).encode(), headers={"apikey": KEY}
    )
    assert answer.status_code == 200


def wrote(text: str, message_id: str, chat: str = ANA, at: int = AT, **key: Any) -> Frame:
    return {
        "key": {"remoteJid": chat, "fromMe": False, "id": message_id, **key},
        "pushName": "Ana",
        "message": {"conversation": text},
        "messageTimestamp": at,
    }


async def test_a_merged_author_stays_the_author_of_what_it_said_in_groups(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        await post(gateway, "messages.upsert", wrote("by number", "A1"))
        first = (await agent.events(2))[0]["data"]["conversation"]
        await post(gateway, "messages.upsert", wrote("in the group", "A2", GROUP, participant=LID))
        await agent.events(2)
        await post(gateway, "messages.upsert", wrote("both", "A3", ANA, remoteJidAlt=LID))
        await agent.events(4)
        page = (await gateway.get("/api/sync")).json()

    by_id = {one["providerMessageId"]: one for one in page["messages"]}
    assert by_id["A2"]["contact"] == by_id["A1"]["contact"]
    assert by_id["A2"]["contact"]["id"] == first["contact"]["id"]


async def test_a_message_and_its_reading_in_one_transaction_update_a_conversation_once(
    gateway: Gateway,
) -> None:
    """Protocol §4: conversation:updated comes once per conversation and transaction."""
    async with gateway.session() as agent:
        await post(gateway, "messages.upsert", wrote("one", "A1"))
        await agent.events(2)
        # What waits for its message is applied with it.
        await post(gateway, "messages.update", {"keyId": "A2", "fromMe": False, "status": "READ"})
        await post(gateway, "messages.upsert", wrote("two", "A2", at=AT + 1))
        events = await agent.events(3)
        await post(gateway, "messages.upsert", wrote("three", "A3", at=AT + 2))
        while "three" not in contents(events):
            events += await agent.events(1)

    assert contents(events) == ["two", "three"], [event["type"] for event in events]


def contents(events: list[Frame]) -> list[str]:
    """The last messages of which updates of conversations tell."""
    updates = [e["data"]["updates"] for e in events if e["type"] == "conversation:updated"]
    return [update["lastMessage"]["content"] for update in updates]


async def test_a_connection_that_flaps_is_one_event(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        for state, reason in (
            ("open", 200), ("close", 428), ("connecting", 200), ("close", 428), ("connecting", 200),
            ("close", 428), ("open", 200),
        ):  # fmt: skip
            await post(gateway, "connection.update", {"state": state, "statusReason": reason})
        events = await agent.events(3)
        inbox = (await gateway.get("/api/sync")).json()["inboxes"][0]

    assert [(e["type"], e["data"]["state"]) for e in events] == [
        ("connection:update", "open"),
        ("connection:update", "close"),
        ("connection:update", "open"),
    ]
    assert inbox["version"] == events[-1]["data"]["version"]


async def test_a_code_to_scan_is_gone_once_the_connection_opens(gateway: Gateway) -> None:
    code = {"qrcode": {"code": "2@x", "base64": "data:image/png;base64,AA==", "pairingCode": None}}
    async with gateway.session() as agent:
        await post(gateway, "qrcode.updated", code)
        (shown,) = await agent.events(1)
        inbox = (await gateway.get("/api/sync")).json()["inboxes"][0]
        assert shown["type"] == "qrcode:update"
        assert shown["data"]["qrcode"] == inbox["qrcode"]
        await post(gateway, "connection.update", {"state": "open", "statusReason": 200})
        await agent.events(1)

        inbox = (await gateway.get("/api/sync")).json()["inboxes"][0]
    assert "qrcode" not in inbox


async def test_what_the_business_reads_on_its_phone_is_read_here(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        for number in (1, 2, 3):
            await post(
                gateway, "messages.upsert", wrote(f"m{number}", f"A{number}", at=AT + number)
            )
            await agent.events(2)
        await post(gateway, "messages.update", {"keyId": "A2", "fromMe": False, "status": "READ"})
        events = await agent.events(3)
        page = (await gateway.get("/api/sync")).json()

    assert sorted(e["type"] for e in events) == [
        "conversation:updated", "message:status-update", "message:status-update",
    ]  # fmt: skip
    statuses = {one["providerMessageId"]: one["status"] for one in page["messages"]}
    assert statuses == {"A1": "READ", "A2": "READ", "A3": "DELIVERED"}
    assert page["conversations"][0]["unreadCount"] == 1


async def test_history_is_stored_and_opens_nothing(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await post(gateway, "messages.set", [wrote("old", "A1", at=AT), wrote("older", "A2", at=1)])
        events = await agent.events(3)
        page = (await gateway.get("/api/sync")).json()

    assert [e["type"] for e in events] == ["conversation:new", "message:new", "message:new"]
    (conversation,) = page["conversations"]
    assert (conversation["status"], conversation["unreadCount"]) == ("RESOLVED", 0)
    assert {one["origin"] for one in page["messages"]} == {"history"}

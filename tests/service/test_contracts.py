"""What a running gateway says fits docs/asyncapi.yaml and docs/openapi.yaml, to the field."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError

import contracts
from chatsync.providers.standard import sign
from conftest import SyncConnection
from service.harness import (
    PATIENCE_SECONDS,
    VERIFY_TOKEN,
    Client,
    Gateway,
    create_inbox,
    running_gateway,
    settings_for,
    token,
)
from service.payloads import Frame, delivery, echoed, reported, said
from service.streams import asking, stream, ticket

pytestmark = pytest.mark.usefixtures("clean_logs")

KEY = "key-of-the-instance"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLICATION: Frame = {"topics": ["tenant"], "type": "order:paid", "data": {"n": 1}}


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    create_inbox(database_url, number="shop", provider="evolution", api_key=KEY)
    async with running_gateway(settings_for(database_url, sessions_per_user=2)) as running:
        yield running


async def heard(client: Client, last: str) -> set[str]:
    """The types of the next events up to one of a type; their frames fit."""
    types: set[str] = set()
    while last not in types:
        frame = await client.next("events")
        contracts.check_frame(frame)
        types |= {event["type"] for event in frame["events"]}
    return types


async def evolution(gateway: Gateway, event: str, data: Frame) -> httpx2.Response:
    body = {"event": event, "instance": "shop", "data": data}
    return await gateway.http.post("/webhooks/evolution", json=body, headers={"apikey": KEY})


def of_user(text: str, wamid: str, phone: str | None, user_id: str | None) -> Frame:
    """What somebody says who has a number, an id of a user, or both."""
    body = delivery(said(text, wamid), customer=phone or "", name="Eva")
    value = body["entry"][0]["changes"][0]["value"]
    named = {"wa_id": phone, "user_id": user_id}
    value["contacts"][0] = {"profile": {"name": "Eva"}} | {k: v for k, v in named.items() if v}
    named = {"from": phone, "from_user_id": user_id}
    message = value["messages"][0] | named
    value["messages"] = [{k: v for k, v in message.items() if v is not None}]
    return body


async def test_every_event_fits(gateway: Gateway, owner: SyncConnection) -> None:
    react = said("", "w3")
    react["messages"][0] |= {"type": "reaction", "reaction": {"message_id": "w1", "emoji": "!"}}
    types: set[str] = set()
    async with gateway.session() as agent:
        contracts.check_frame(agent.seen[0])
        for body, last in (
            (delivery(said("hello", "w1")), "message:new"),
            (delivery(react), "message:updated"),
            (delivery(echoed("hi", "w4")), "conversation:updated"),
            (delivery(reported("failed", "w4")), "message:status-update"),
            (delivery(said("I am", "w5", at=1_790_000_009), name="Ana B."), "contact:updated"),
            (delivery({"errors": [{"code": 1, "title": "trouble"}]}), "connection:update"),
            (of_user("by id", "w6", None, "US.1"), "message:new"),
            (of_user("by number", "w7", "15550002", None), "message:new"),
            (of_user("by both", "w8", "15550002", "US.1"), "conversation:merged"),
        ):
            assert (await gateway.post(body)).status_code == 200
            types |= await heard(agent, last)
        qrcode = {"qrcode": {"code": "2@x", "base64": "data:,", "pairingCode": None}}
        await evolution(gateway, "qrcode.updated", qrcode)
        types |= await heard(agent, "qrcode:update")
        await evolution(gateway, "connection.update", {"state": "close", "statusReason": 428})
        types |= await heard(agent, "connection:update")
        await publish(gateway, PUBLICATION)
        types |= await heard(agent, "order:paid")

    events = contracts.load("schemas/events.yaml")["$defs"]
    numbered = {
        name for name in events if ":" in name and not name.startswith(("presence", "typing"))
    }
    assert types == numbered | {"order:paid"}


async def publish(gateway: Gateway, body: Frame, **more: Any) -> httpx2.Response:
    return await ask(gateway, "POST", "/api/events", token(role="service"), json=body, **more)


async def test_a_session_beats_and_ends_as_the_contract_says(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, ping_interval_ms=1000, connect_timeout_ms=100)
    async with running_gateway(settings) as gateway:
        async with gateway.raw() as silent:
            assert [each["code"] for each in await all_of(silent)] == [4205]
        async with gateway.raw() as mute, gateway.raw() as expiring:
            await mute.send(type="connect", token=token())
            await expiring.send(type="connect", token=token("u2", ttl=2))
            frames = await all_of(mute)
            assert [each["type"] for each in frames] == ["connected", "ping", "ping", "closing"]
            assert frames[-1]["code"] == 4204
            frames = await all_of(expiring)
            assert {"tokenExpiring", "closing"} <= {each["type"] for each in frames}


async def test_a_session_that_is_not_acknowledged_is_delivered_to_again(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, ack_timeout_ms=100)
    async with running_gateway(settings) as gateway, gateway.session() as agent:
        start = agent.seen[0]["cursor"]
        await agent.send(type="ack", cursor=start)
        await publish(gateway, PUBLICATION)
        frame: Frame = {}
        while "redelivered" not in frame:
            frame = await agent.next("events", "ping")
            contracts.check_frame(frame)
            if frame["type"] == "ping":
                await agent.send(type="pong", n=frame["n"], cursor=start)


async def all_of(client: Client) -> list[Frame]:
    """Every frame until the server closes, none of them answered; all fit."""
    frames: list[Frame] = []
    with contextlib.suppress(ConnectionClosedError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frames.append(json.loads(await client.socket.recv()))
                contracts.check_frame(frames[-1])
    return frames


async def test_a_stream_fits(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        contracts.check_frame(await listener.next("connected"))
        await publish(gateway, PUBLICATION)
        contracts.check_frame(await listener.next("events"))
        documented = contracts.openapi()["paths"]["/api/events/stream"]["get"]["responses"]["200"]
        assert set(documented["content"]) == {listener.headers["content-type"].partition(";")[0]}
    for name, value, status in (("cursor", "none", 400), ("topics", "user:u9", 403)):
        query: Any = {name: value}
        async with asking(gateway, **query) as refused:
            assert refused.status == status
            fits_problem("GET", "/api/events/stream", refused.status, await refused.body())
    spent = await ticket(gateway)
    for status in (200, 401):
        async with asking(gateway, is_anonymous=True, ticket=spent) as answer:
            assert answer.status == status


async def ask(
    gateway: Gateway, method: str, path: str, jwt: str | None = "", **more: Any
) -> httpx2.Response:
    """Make a request and compare its answer with the contract. No token where `jwt` is None."""
    target = more.pop("target", path)
    headers = more.pop("headers", {})
    if jwt is not None:
        headers["Authorization"] = f"Bearer {jwt or token()}"
    answer = await gateway.http.request(method, target, headers=headers, **more)
    fits(method, path, answer)
    return answer


def fits(method: str, path: str, answer: httpx2.Response) -> None:
    documented = contracts.headers(method, path, answer.status_code)
    assert {name for name, each in documented.items() if each.get("required")} <= {
        name for name in documented if name in answer.headers
    }
    media = answer.headers.get("content-type", "").partition(";")[0]
    if media.endswith("json"):
        contracts.check_answer(method, path, answer.status_code, media, answer.json())
    elif answer.content:
        contracts.check_answer(method, path, answer.status_code, media, answer.text)


def fits_problem(method: str, path: str, status: int, document: object) -> None:
    contracts.check_answer(method, path, status, "application/problem+json", document)


async def test_reading_fits(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        for n in range(2):
            await gateway.post(delivery(said("hello", f"w{n}", f"1555{n}"), customer=f"1555{n}"))
            await heard(agent, "message:new")
    listed = "/api/conversations"
    one = (await ask(gateway, "GET", listed, params={"limit": 1})).json()
    assert "next" in one
    conversation = one["items"][0]["id"]
    for path in ("/api/conversations/{id}", "/api/conversations/{id}/messages"):
        await ask(gateway, "GET", path, target=path.format(id=conversation))
        await ask(gateway, "GET", path, target=path.format(id="0"))
        await ask(gateway, "GET", path, None, target=path.format(id="0"))
    snapshot = (await ask(gateway, "GET", "/api/sync", params={"limit": 1})).json()
    assert "page" in snapshot
    assert "inboxes" in snapshot
    unusable = {"cursor": "0" * 32 + ".0"}
    for path, queries in {
        listed: [{"limit": 0}, {"before": "x"}, {"after": "x"}, {"token": "x"}],
        "/api/sync": [{"cursor": snapshot["cursor"]}, {"page": snapshot["page"]}, unusable,
                      {"since": "2026-01-01T00:00:00Z"}, {"since": "x"}],
        "/api/events": [{}, {"cursor": snapshot["cursor"], "wait": 0}, unusable,
                        {"topics": "user:u9"},
                        {"wait": "x"}, {"cursor": snapshot["cursor"].partition(".")[0] + ".0"}],
    }.items():  # fmt: skip
        for query in queries:
            await ask(gateway, "GET", path, params=query)
        await ask(gateway, "GET", path, None)


async def test_publishing_and_tickets_fit(gateway: Gateway) -> None:
    assert (await publish(gateway, PUBLICATION)).status_code == 202
    for change, status in (
        ({"topics": ["tenant:t2"]}, 403),
        ({"type": "message:new"}, 422),
        ({"data": {"n": "x" * 200_000}}, 413),
    ):
        assert (await publish(gateway, PUBLICATION | change)).status_code == status
    assert (await ask(gateway, "POST", "/api/events", json=PUBLICATION)).status_code == 403
    assert (await ask(gateway, "POST", "/api/ticket")).status_code == 200
    assert (await ask(gateway, "POST", "/api/ticket", None)).status_code == 401


async def test_webhooks_fit(gateway: Gateway, database_url: str) -> None:
    path = "/webhooks/whatsapp"
    fits("POST", path, await gateway.post(delivery(said("hi", "w1"))))
    fits("POST", path, await gateway.post(delivery(said("hi", "w1")), secret="wrong"))
    known = {"hub.mode": "subscribe", "hub.challenge": "42"}
    for verify_token in (VERIFY_TOKEN, "wrong"):
        await ask(gateway, "GET", path, None, params=known | {"hub.verify_token": verify_token})
    for path, target in (
        ("/webhooks/evolution", "/webhooks/evolution"),
        ("/webhooks/evolution/{event}", "/webhooks/evolution/messages-upsert"),
    ):
        for key, status in ((KEY, 200), ("wrong", 401)):
            body = {"event": "messages.upsert", "instance": "shop", "data": {}}
            headers = {"apikey": key}
            answer = await ask(
                gateway, "POST", path, None, target=target, json=body, headers=headers
            )
            assert answer.status_code == status
    inbox_id = create_inbox(database_url, number="crm", secret=SECRET, provider="standard")
    raw = json.dumps({"type": "message", "contact": {"id": "c"}, "message": {"id": "m"}}).encode()
    at = str(int(time.time()))
    signed = {"webhook-id": "m1", "webhook-timestamp": at}
    signed["webhook-signature"] = sign("m1", at, raw, SECRET)
    path = "/webhooks/standard/{inboxId}"
    for headers, status in ((signed, 200), ({}, 401)):
        target = path.format(inboxId=inbox_id)
        answer = await ask(gateway, "POST", path, None, target=target, content=raw, headers=headers)
        assert answer.status_code == status


async def test_health_fits(gateway: Gateway) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await ask(gateway, "GET", path, None)).status_code == 200

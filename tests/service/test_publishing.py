"""POST /api/events: what an application may publish, and what it may not."""

import json
from typing import Any

import httpx2
import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, token
from service.payloads import delivery, said
from service.streams import stream

pytestmark = pytest.mark.usefixtures("clean_logs")

GOOD: dict[str, Any] = {"topics": ["tenant"], "type": "order:paid", "data": {"n": 1}}


async def post(
    gateway: Gateway, body: Any, jwt: str | None = None, **headers: str
) -> httpx2.Response:
    headers["Authorization"] = f"Bearer {jwt or token(role='service')}"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.http.post("/api/events", headers=headers, content=content)


async def test_what_is_published_reaches_those_who_hear_its_topics(gateway: Gateway) -> None:
    async with stream(gateway) as listener, gateway.session() as agent:
        await listener.next("connected")
        answer = await post(gateway, GOOD, **{"X-Correlation-Id": "order-7"})
        (heard,) = await listener.events(1)
        (also,) = await agent.events(1)

    assert (answer.status_code, answer.json()) == (202, {"correlationId": "order-7"})
    assert heard == also
    assert heard["type"] == "order:paid"
    assert heard["topics"] == ["tenant:t1"]
    assert heard["data"] == {"n": 1}
    assert heard["correlationId"] == "order-7"


async def test_topics_are_spelled_out_and_named_once(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hi", "w1")))
        events = await agent.events(2)
        conversation = events[1]["data"]["conversationId"]
        named = ["tenant", "empresa:t1", "atendente:u2", f"conversa:{conversation}", "order:9"]
        answer = await post(gateway, GOOD | {"topics": [*named, "presence"]})
        (heard,) = await agent.events(1)

    assert answer.status_code == 202
    expected = ["tenant:t1", "user:u2", f"conversation:{conversation}", "order:9", "presence:t1"]
    assert heard["topics"] == expected


async def test_only_a_service_publishes(gateway: Gateway, owner: SyncConnection) -> None:
    for role in ("agent", "supervisor", "admin"):
        answer = await post(gateway, GOOD, token(role=role))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await gateway.http.post("/api/events", json=GOOD)).status_code == 401
    nobody = await post(gateway, GOOD, token(tenant="nobody", role="service"))
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
    assert kept(owner) == 0


async def test_nothing_is_published_to_another_tenant(
    gateway: Gateway, database_url: str, owner: SyncConnection
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hi", "w1")))
        conversation = (await agent.events(2))[1]["data"]["conversationId"]
    before = kept(owner)
    other = token(tenant="t2", role="service")
    for topic in (
        "tenant:t1",
        "empresa:t1",
        "presence:t1",
        f"conversation:{conversation}",
        f"conversa:{conversation}",
        "conversation:999999",
    ):
        answer = await post(gateway, GOOD | {"topics": ["tenant", topic]}, other)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), topic
        assert len(answer.json()["topics"]) == 1
    assert kept(owner) == before


def kept(owner: SyncConnection) -> object:
    row = owner.execute(
        "select (select count(*) from chatsync.outbox) + (select count(*) from chatsync.event_log)"
    ).fetchone()
    assert row is not None
    return row[0]


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"topics": None}, "topics"),
    ({"topics": []}, "topics"),
    ({"topics": "tenant"}, "topics"),
    ({"topics": [1]}, "topics"),
    ({"topics": [""]}, "topics"),
    ({"topics": ["x:\0"]}, "topics"),
    ({"topics": ["x:" + "y" * 200]}, "topics"),
    ({"topics": [f"x:{n}" for n in range(17)]}, "topics"),
    ({"type": None}, "type"),
    ({"type": ""}, "type"),
    ({"type": 1}, "type"),
    ({"type": "x" * 101}, "type"),
    ({"type": "a b"}, "type"),
    ({"type": "\0"}, "type"),
    ({"type": "message:new"}, "type"),
    ({"type": "message:anything"}, "type"),
    ({"type": "Message:new"}, "type"),
    ({"type": "conversation:updated"}, "type"),
    ({"type": "contact:updated"}, "type"),
    ({"type": "presence:update"}, "type"),
    ({"type": "typing:start"}, "type"),
    ({"type": "qrcode"}, "type"),
    ({"data": None}, "data"),
    ({"data": []}, "data"),
    ({"data": "x"}, "data"),
    ({"data": {"x": "\0"}}, "data"),
    ({"data": {"\0": "x"}}, "data"),
    ({"data": {"x": "\ud800"}}, "data"),
    ({"data": {"x": "y" * 65_530}}, "data"),
    ({"topics": ["nonsense"]}, "topics"),
]


async def test_a_field_that_cannot_be_served_is_named(
    gateway: Gateway, owner: SyncConnection
) -> None:
    for change, field in BAD_FIELDS:
        answer = await post(gateway, GOOD | change)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), change
        assert answer.json()["detail"].startswith(field), change
    assert kept(owner) == 0


BAD_BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "bad_request"),
    (b"{", 400, "bad_request"),
    (b"[]", 400, "bad_request"),
    (b"\xff\xfe", 400, "bad_request"),
    (b'{"topics":["tenant"],"type":"x","data":{"n":NaN}}', 400, "bad_request"),
    (b'{"topics":["tenant"],"type":"x","data":{"n":1e999}}', 400, "bad_request"),
    (b"[" * 60_000, 400, "bad_request"),
    (b" " * 131_073, 413, "too_large"),
]


async def test_a_body_that_is_none_is_refused(gateway: Gateway) -> None:
    for body, status, code in BAD_BODIES:
        answer = await post(gateway, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:50]


async def test_data_may_be_deep_large_and_strange(gateway: Gateway) -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"x": deep}
    strange = {"é\n\r\u2028": 10**400, "ü": [None, True]}
    datas: list[dict[str, Any]] = [deep, {"x": "y" * 65_500}, {}, strange]
    async with stream(gateway) as listener:
        await listener.next("connected")
        for data in datas:
            assert (await post(gateway, GOOD | {"data": data})).status_code == 202
        assert [event["data"] for event in await listener.events(4)] == datas


async def test_unknown_fields_are_ignored(gateway: Gateway) -> None:
    assert (await post(gateway, GOOD | {"seq": 7, "tenant": "t2"})).status_code == 202


async def test_no_other_method_is_known(gateway: Gateway) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        answer = await gateway.http.request(method, "/api/events")
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}

"""The HTTP side: queries, sync, long-poll, and what bad requests get."""

import asyncio
import base64
import json
import re
import socket
from typing import Any

import pytest

from chatsync.gateway.server import bind
from chatsync.providers.whatsapp_cloud import sign
from chatsync.settings import load
from service.harness import APP_SECRET, Gateway, create_inbox, token
from service.payloads import delivery, said


async def fill(gateway: Gateway, customers: int, messages: int = 1) -> None:
    """Customers that wrote, and their events on the way through."""
    async with gateway.session() as agent:
        for customer in range(customers):
            number = f"1555{customer:04}"
            changes = [
                said(f"{customer}/{i}", f"w{customer}.{i}", number, 1_790_000_000 + customer)
                for i in range(messages)
            ]
            await gateway.post(delivery(*changes, customer=number, name=f"C{customer}"))
        seen = 0
        while seen < customers * messages:
            events = (await agent.next("events"))["events"]
            seen += sum(event["type"] == "message:new" for event in events)


async def test_conversations_come_in_pages_the_newest_first(gateway: Gateway) -> None:
    await fill(gateway, 5)
    names: list[str] = []
    page: dict[str, Any] = {"next": None}
    while "next" in page:
        query: dict[str, Any] = {"before": page["next"]} if page["next"] else {}
        page = (await gateway.get("/api/conversations", limit=2, **query)).json()
        names += [item["contact"]["name"] for item in page["items"]]

    assert names == ["C4", "C3", "C2", "C1", "C0"]
    assert re.fullmatch(r"[0-9a-f]{32}\.\d+", page["cursor"])


async def test_conversations_can_be_filtered(gateway: Gateway) -> None:
    await fill(gateway, 2)
    for query, count in (
        ({"status": "OPEN"}, 2),
        ({"status": "RESOLVED"}, 0),
        ({"assigneeId": "nobody"}, 0),
        ({"inboxId": "999"}, 0),
    ):
        assert len((await gateway.get("/api/conversations", **query)).json()["items"]) == count


async def test_messages_come_in_pages_the_newest_first(gateway: Gateway) -> None:
    await fill(gateway, 1, messages=5)
    listed = (await gateway.get("/api/conversations")).json()["items"][0]
    path = f"/api/conversations/{listed['id']}/messages"

    first = (await gateway.get(path, limit=3)).json()
    second = (await gateway.get(path, limit=3, before=first["next"])).json()

    contents = [item["content"] for item in first["items"] + second["items"]]
    assert contents == ["0/4", "0/3", "0/2", "0/1", "0/0"]
    assert "next" not in second
    one = (await gateway.get(f"/api/conversations/{listed['id']}")).json()
    assert one["conversation"] == listed


async def test_a_foreign_conversation_and_an_unknown_one_are_alike(
    gateway: Gateway, database_url: str
) -> None:
    await fill(gateway, 1)
    create_inbox(database_url, tenant="t2", number="200")
    answers = [
        await gateway.get(f"/api/conversations/{name}", token(tenant="t2"))
        for name in ("1", "999", "0", "-1", "abc", "9" * 30)
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["detail"] for answer in answers} == {"unknown conversation"}


async def test_a_snapshot_comes_in_pages_with_one_cursor(gateway: Gateway) -> None:
    await fill(gateway, 5, messages=2)
    pages = [(await gateway.get("/api/sync", limit=2)).json()]
    # What arrives between the pages is after their cursor.
    await fill_more(gateway)
    while pages[-1]["hasMore"]:
        pages.append((await gateway.get("/api/sync", limit=2, page=pages[-1]["page"])).json())

    assert [len(page["conversations"]) for page in pages] == [2, 2, 2]
    assert len({page["cursor"] for page in pages}) == 1
    assert len({m["id"] for page in pages for m in page["messages"]}) == 11
    assert len({c["id"] for page in pages for c in page["contacts"]}) == 6
    assert [len(page.get("inboxes", [])) for page in pages] == [1, 0, 0]


async def fill_more(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("late", "w-late", "1666"), customer="1666", name="Late"))
        await agent.events(2)


async def test_a_delta_holds_what_changed_since_a_cursor(gateway: Gateway) -> None:
    await fill(gateway, 3)
    snapshot = (await gateway.get("/api/sync")).json()
    await fill_more(gateway)

    delta = (await gateway.get("/api/sync", cursor=snapshot["cursor"])).json()
    nothing = (await gateway.get("/api/sync", cursor=delta["cursor"])).json()

    assert [m["content"] for m in delta["messages"]] == ["late"]
    assert [c["contact"]["name"] for c in delta["conversations"]] == ["Late"]
    assert [c["name"] for c in delta["contacts"]] == ["Late"]
    assert delta["hasMore"] is False
    assert (nothing["messages"], nothing["cursor"]) == ([], delta["cursor"])


async def test_a_time_stands_for_the_last_cursor_before_it(gateway: Gateway) -> None:
    await fill(gateway, 1)
    middle = (await gateway.get("/api/sync")).json()["syncTimestamp"]
    await fill_more(gateway)

    delta = (await gateway.get("/api/sync", since=middle)).json()
    everything = (await gateway.get("/api/sync", since="2020-01-01T00:00:00Z")).json()

    assert [m["content"] for m in delta["messages"]] == ["late"]
    assert len(everything["messages"]) == 2


async def test_the_time_of_a_sync_is_that_of_its_first_page(gateway: Gateway) -> None:
    await fill(gateway, 3)
    page = (await gateway.get("/api/sync", limit=1)).json()
    first = page["syncTimestamp"]
    await fill_more(gateway)
    while page["hasMore"]:
        page = (await gateway.get("/api/sync", limit=1, page=page["page"])).json()
        assert page["syncTimestamp"] == first

    # What came between the pages is not known to have been seen.
    delta = (await gateway.get("/api/sync", since=first)).json()
    assert "late" in [message["content"] for message in delta["messages"]]


async def test_a_method_that_is_not_known_is_a_problem_with_its_status(gateway: Gateway) -> None:
    answer = await gateway.http.delete("/api/sync")
    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert answer.json()["code"] == "bad_request"
    assert "GET" in answer.headers["allow"]


async def test_a_long_poll_returns_with_the_first_event(gateway: Gateway) -> None:
    now = (await gateway.get("/api/events")).json()
    assert now == {"from": now["to"], "to": now["to"], "events": []}

    waiting = asyncio.create_task(gateway.get("/api/events", cursor=now["to"], wait=10))
    await asyncio.sleep(0)
    await gateway.post(delivery(said("hi", "w1")))
    polled = (await waiting).json()

    assert polled["from"] == now["to"]
    assert {event["type"] for event in polled["events"]} == {"conversation:new", "message:new"}
    rest = (await gateway.get("/api/events", cursor=polled["to"], wait=0)).json()
    assert rest == {"from": polled["to"], "to": polled["to"], "events": []}


async def test_a_poll_hears_only_its_topics(gateway: Gateway) -> None:
    now = (await gateway.get("/api/events")).json()["to"]
    await fill(gateway, 1)

    polled = (await gateway.get("/api/events", cursor=now, topics="user", wait=0)).json()
    refused = await gateway.get("/api/events", cursor=now, topics="tenant:t2", wait=0)

    assert polled["events"] == []
    assert polled["to"].endswith(".2")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/api/conversations", {"limit": "0"}, 422, "invalid"),
        ("/api/conversations", {"limit": "-1"}, 422, "invalid"),
        ("/api/conversations", {"limit": "NaN"}, 422, "invalid"),
        ("/api/conversations", {"limit": "1e9"}, 422, "invalid"),
        ("/api/conversations", {"limit": "99999999999999999999"}, 422, "invalid"),
        ("/api/conversations", {"limit": "²"}, 422, "invalid"),
        ("/api/conversations", {"before": "!!"}, 422, "invalid"),
        ("/api/conversations", {"before": "W10"}, 422, "invalid"),
        ("/api/conversations", {"status": "LOST"}, 422, "invalid"),
        ("/api/conversations", {"inboxId": "x"}, 422, "invalid"),
        ("/api/sync", {"cursor": "x"}, 400, "bad_cursor"),
        ("/api/sync", {"cursor": "abc.1"}, 410, "reset"),
        ("/api/sync", {"page": "zzz"}, 422, "invalid"),
        ("/api/sync", {"since": "yesterday"}, 422, "invalid"),
        ("/api/events", {"cursor": "a.b.c"}, 400, "bad_cursor"),
        ("/api/events", {"cursor": "abc.-1"}, 400, "bad_cursor"),
        ("/api/events", {"wait": "1000000000"}, 422, "invalid"),
        ("/api/events", {"topics": ","}, 422, "invalid"),
        ("/api/nothing", {}, 404, "not_found"),
        ("/api/conversations", {"token": "x"}, 400, "token_in_url"),
    ],
)
async def test_a_bad_request_is_answered_with_a_problem(
    gateway: Gateway, path: str, query: dict[str, str], status: int, code: str
) -> None:
    answer = await gateway.get(path, **query)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["correlationId"] == answer.headers["x-correlation-id"]


async def test_a_page_token_of_another_make_is_no_error_of_ours(gateway: Gateway) -> None:
    values: list[Any]
    for values in (["x; drop", 1], ["infinity", 1], ["2020-01-01", 10**30], [None, None], ["", 0]):
        text = base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
        answer = await gateway.get("/api/conversations", before=text)
        assert answer.status_code in {200, 422}, values


async def test_an_unusable_cursor_says_why(gateway: Gateway) -> None:
    epoch = (await gateway.get("/api/events")).json()["to"].rpartition(".")[0]
    for path in ("/api/events", "/api/sync"):
        ahead = await gateway.get(path, cursor=f"{epoch}.999")
        assert (ahead.status_code, ahead.json()["reason"]) == (410, "ahead")
        foreign = await gateway.get(path, cursor=f"{'0' * 32}.0")
        assert (foreign.status_code, foreign.json()["reason"]) == (410, "epoch")


async def test_without_a_token_nothing_is_shown(gateway: Gateway) -> None:
    for path in ("/api/conversations", "/api/sync", "/api/events", "/api/conversations/1"):
        answer = await gateway.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    expired = await gateway.get("/api/sync", token(ttl=-60))
    assert expired.json()["code"] == "token_expired"


async def test_a_valid_correlation_id_is_kept_and_follows_the_message(gateway: Gateway) -> None:
    body = json.dumps(delivery(said("hi", "w1"))).encode()
    headers = {"X-Hub-Signature-256": sign(body, APP_SECRET), "X-Correlation-Id": "corr-42"}
    async with gateway.session() as agent:
        answer = await gateway.http.post("/webhooks/whatsapp", content=body, headers=headers)
        events = await agent.events(2)
    bad = await gateway.http.get("/livez", headers={"X-Correlation-Id": "no spaces allowed"})

    assert answer.headers["x-correlation-id"] == "corr-42"
    assert {event["correlationId"] for event in events} == {"corr-42"}
    assert bad.headers["x-correlation-id"] != "no spaces allowed"


async def test_metrics_count_what_was_done(gateway: Gateway) -> None:
    await fill(gateway, 1)
    text = (await gateway.http.get("/metrics")).text
    assert 'chatsync_webhooks_total{outcome="accepted",provider="whatsapp_cloud"}' in text
    assert "chatsync_events_delivered_total" in text


def test_answers_are_not_held_back_to_be_joined() -> None:
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it an answer of two
    # writes waits for the other side's delayed acknowledgement, 40 ms on Linux.
    with bind(load(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP

"""Deliveries at once, in bulk, for several inboxes: each item ends where it belongs, once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import Frame, delivery, reported, said

ANA = "15550001"


@pytest.fixture
async def second(database_url: str, gateway: Gateway) -> AsyncGenerator[Gateway]:
    """Another gateway with a worker of its own, beside the first one."""
    assert gateway
    async with running_gateway(settings_for(database_url)) as running:
        yield running


async def test_the_same_delivery_on_two_gateways_at_once_is_one_message(
    gateway: Gateway, second: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent, second.session() as colleague:
        body = delivery(said("once", "w1"))
        posts = [one.post(body) for one in (gateway, second, gateway)]
        answers = await asyncio.gather(*posts)
        await gateway.post(delivery(said("after", "w2")))

        heard = [await one.events_until("after") for one in (agent, colleague)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert heard[0] == heard[1]
    new = [e["data"]["message"]["content"] for e in heard[0] if e["type"] == "message:new"]
    assert new == ["once", "after"]
    assert owner.execute("select count(*) from chatsync.messages").fetchone() == (2,)
    assert owner.execute("select count(*) from chatsync.failed_messages").fetchone() == (0,)


async def test_of_a_thousand_items_the_two_broken_ones_are_put_aside(
    gateway: Gateway, owner: SyncConnection
) -> None:
    body = delivery(*(said(f"m{number}", f"w{number}") for number in range(1000)))
    changes = body["entry"][0]["changes"]
    del changes[400]["value"]["messages"][0]["id"]
    # The parser has nothing against it, and PostgreSQL refuses it: no event may hold so much.
    changes[700]["value"]["messages"][0]["text"]["body"] = "x" * 1_100_000
    seen: list[Frame] = []
    async with gateway.session() as agent:
        assert (await gateway.post(body)).status_code == 200
        while len(seen) < 998:
            seen += [e for e in await agent.events(1) if e["type"] == "message:new"]

    contents = [event["data"]["message"]["content"] for event in seen]
    assert contents == [f"m{number}" for number in range(1000) if number not in (400, 700)]
    reasons = owner.execute(
        "select error_message from chatsync.failed_messages order by id"
    ).fetchall()
    assert reasons[0] == ("no usable id",)
    assert "data_is_bounded" in str(reasons[1][0])
    assert len(reasons) == 2
    assert owner.execute("select count(*) from chatsync.messages").fetchone() == (998,)


@pytest.mark.parametrize("tenant", ["t1", "t2"])
async def test_two_numbers_in_one_delivery_are_two_inboxes(
    gateway: Gateway, database_url: str, inbox_id: int, tenant: str
) -> None:
    other = create_inbox(database_url, tenant=tenant, number="200")
    body = delivery(said("for one", "w1"))
    body["entry"] += delivery(said("for the other", "w1"), number="200")["entry"]
    async with gateway.session() as agent, gateway.session(token(tenant=tenant)) as colleague:
        assert (await gateway.post(body)).status_code == 200
        events = await agent.events(4 if tenant == "t1" else 2)
        if tenant != "t1":
            events += await colleague.events(2)

    found = [e["data"]["message"] for e in events if e["type"] == "message:new"]
    assert {one["inboxId"]: one["content"] for one in found} == {
        str(inbox_id): "for one",
        str(other): "for the other",
    }
    # One person is one contact of a tenant, whatever the number it writes to.
    assert len({one["contact"]["id"] for one in found}) == (1 if tenant == "t1" else 2)


def of_user(text: str, wamid: str, *, phone: str | None, bsuid: str | None) -> Frame:
    """A message of somebody who is known by a number, by a business-scoped id, or by both."""
    body = delivery(said(text, wamid))
    value = body["entry"][0]["changes"][0]["value"]
    contact = {"profile": {"name": "Ana"}, "wa_id": phone, "user_id": bsuid}
    value["contacts"] = [{name: one for name, one in contact.items() if one is not None}]
    message = value["messages"][0]
    message |= {"from": phone, "from_user_id": bsuid}
    value["messages"] = [{name: one for name, one in message.items() if one is not None}]
    return body


async def test_a_merge_is_seen_by_a_client(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(of_user("by id", "w1", phone=None, bsuid="US.1"))
        first = (await agent.events(2))[0]["data"]["conversation"]
        await gateway.post(of_user("by number", "w2", phone=ANA, bsuid=None))
        second = (await agent.events(2))[0]["data"]["conversation"]
        assert first["contact"]["id"] != second["contact"]["id"]
        await agent.send(type="subscribe", id=1, topics=[f"conversation:{second['id']}"])
        await agent.next("reply")

        await gateway.post(of_user("by both", "w3", phone=ANA, bsuid="US.1"))
        events = await agent.events(6)

    by_type: dict[str, list[Frame]] = {}
    for event in events:
        by_type.setdefault(event["type"], []).append(event)
    (merged,) = by_type["conversation:merged"]
    assert merged["data"] == {"conversationId": second["id"], "intoId": first["id"]}
    assert merged["topics"] == [
        "tenant:t1", f"conversation:{second['id']}", f"conversation:{first['id']}",
    ]  # fmt: skip
    (new,) = by_type["message:new"]
    assert new["data"]["conversationId"] == first["id"]
    updated = {e["data"]["conversationId"]: e["data"] for e in by_type["conversation:updated"]}
    assert updated[first["id"]]["conversation"]["unreadCount"] == 3
    assert updated[second["id"]]["conversation"]["status"] == "RESOLVED"
    assert updated[second["id"]]["updates"]["mergedInto"] == first["id"]
    contacts = {
        e["data"]["contact"]["id"]: e["data"]["contact"] for e in by_type["contact:updated"]
    }
    survivor = contacts[first["contact"]["id"]]
    assert {(one["kind"], one["value"]) for one in survivor["identities"]} == {
        ("phone", ANA), ("bsuid", "US.1"),
    }  # fmt: skip
    assert survivor["phoneNumber"] == ANA
    assert contacts[second["contact"]["id"]]["mergedInto"] == survivor["id"]
    page = (await gateway.get(f"/api/conversations/{first['id']}/messages")).json()
    assert [one["content"] for one in page["items"]] == ["by both", "by number", "by id"]


async def test_what_was_merged_is_reopened_as_one(gateway: Gateway, owner: SyncConnection) -> None:
    async with gateway.session() as agent:
        await gateway.post(of_user("by id", "w1", phone=None, bsuid="US.1"))
        first = (await agent.events(2))[0]["data"]["conversation"]
        await gateway.post(of_user("by number", "w2", phone=ANA, bsuid=None))
        await agent.events(2)
        await gateway.post(of_user("by both", "w3", phone=ANA, bsuid="US.1"))
        await agent.events(6)
        owner.execute("update chatsync.conversations set status = 'RESOLVED'")

        await gateway.post(of_user("again", "w4", phone=ANA, bsuid="US.1"))
        events = await agent.events(2)

    assert [e["type"] for e in events] == ["message:new", "conversation:updated"]
    assert events[0]["data"]["conversationId"] == first["id"]


@pytest.mark.parametrize(
    ("reopen_hours", "hours_later", "is_reopened"),
    [(24, 23, True), (24, 25, False), (0, 0, False), (24, 0, True)],
)
async def test_a_resolved_conversation_reopens_within_its_hours(
    gateway: Gateway,
    owner: SyncConnection,
    reopen_hours: int,
    hours_later: int,
    is_reopened: bool,
) -> None:
    owner.execute("update chatsync.inboxes set reopen_hours = %s", [reopen_hours])
    at = 1_790_000_000
    async with gateway.session() as agent:
        await gateway.post(delivery(said("one", "w1", at=at)))
        first = (await agent.events(2))[0]["data"]["conversation"]
        owner.execute("update chatsync.conversations set status = 'RESOLVED'")
        await gateway.post(delivery(said("two", "w2", at=at + 3600 * hours_later)))
        events = await agent.events(2)

    if is_reopened:
        assert [e["type"] for e in events] == ["message:new", "conversation:updated"]
        assert events[1]["data"]["conversationId"] == first["id"]
        assert events[1]["data"]["updates"]["status"] == "OPEN"
        assert events[1]["data"]["updates"]["unreadCount"] == 2
    else:
        assert [e["type"] for e in events] == ["conversation:new", "message:new"]
        assert events[0]["data"]["conversation"]["id"] != first["id"]


async def test_events_have_the_topics_that_the_protocol_names(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("one", "w1")))
        events = await agent.events(2)
        conversation = f"conversation:{events[0]['data']['conversation']['id']}"
        owner.execute("update chatsync.conversations set assignee_id = 'u9'")
        await gateway.post(delivery(said("two", "w2")))
        events += await agent.events(2)
        react = said("", "w3") | {}
        react["messages"][0] |= {"type": "reaction", "reaction": {"message_id": "w1", "emoji": "!"}}
        await gateway.post(delivery(react))
        events += await agent.events(1)
        ours = delivery({"message_echoes": [{**said("hi", "w4")["messages"][0], "to": ANA}]})
        await gateway.post(ours)
        events += await agent.events(2)
        await gateway.post(delivery(reported("read", "w4")))
        events += await agent.events(1)
        await gateway.post(delivery(said("three", "w5", at=1_790_000_009), name="Ana B."))
        events += await agent.events(3)
        await gateway.post(delivery({"errors": [{"code": 1, "title": "trouble"}]}))
        events += await agent.events(1)

    assert [(e["type"], e["topics"]) for e in events] == [
        ("conversation:new", ["tenant:t1"]),
        ("message:new", ["tenant:t1", conversation]),
        ("message:new", ["tenant:t1", conversation, "user:u9"]),
        ("conversation:updated", ["tenant:t1", conversation, "user:u9"]),
        ("message:updated", ["tenant:t1", conversation]),
        ("message:new", ["tenant:t1", conversation, "user:u9"]),
        ("conversation:updated", ["tenant:t1", conversation, "user:u9"]),
        ("message:status-update", ["tenant:t1", conversation]),
        ("message:new", ["tenant:t1", conversation, "user:u9"]),
        ("conversation:updated", ["tenant:t1", conversation, "user:u9"]),
        ("contact:updated", ["tenant:t1"]),
        ("connection:update", ["tenant:t1"]),
    ]


async def test_a_reply_that_comes_before_what_it_answers_is_joined_to_it(gateway: Gateway) -> None:
    answer = said("yes", "w2", at=1_790_000_009)
    answer["messages"][0]["context"] = {"id": "w1"}
    async with gateway.session() as agent:
        await gateway.post(delivery(answer))
        await agent.events(2)
        await gateway.post(delivery(said("coming?", "w1")))
        events = await agent.events(3)

        page = (await gateway.get("/api/sync")).json()

    by_wamid = {one["providerMessageId"]: one for one in page["messages"]}
    assert by_wamid["w2"].get("replyTo") == by_wamid["w1"]["id"]
    (updated,) = [event for event in events if event["type"] == "message:updated"]
    assert updated["data"]["message"] == by_wamid["w2"]


async def test_two_members_of_a_group_have_a_reaction_each(gateway: Gateway) -> None:
    def in_group(wamid: str, member: str, **more: object) -> Frame:
        change = said("hello all", wamid, customer=member)
        change["messages"][0] |= {"group_id": "g1", **more}
        return delivery(change, customer=member, name=member)

    async with gateway.session() as agent:
        await gateway.post(in_group("w1", "15550001"))
        await agent.events(2)
        for number, emoji in (("15550002", "👍"), ("15550003", "🎉")):
            reaction = {"message_id": "w1", "emoji": emoji}
            await gateway.post(in_group(f"r{number}", number, type="reaction", reaction=reaction))
            event = (await agent.events(1))[0]

    found = event["data"]["message"]["metadata"]["reactions"]
    assert {one["emoji"] for one in found} == {"👍", "🎉"}


async def test_an_older_name_that_comes_late_renames_nobody(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        for wamid, name, at in (("w1", "New", 10), ("w2", "New", 30), ("w3", "Old", 20)):
            await gateway.post(delivery(said("hi", wamid, at=1_790_000_000 + at), name=name))
            events = await agent.events(2)

    assert events[0]["data"]["message"]["contact"]["name"] == "New"

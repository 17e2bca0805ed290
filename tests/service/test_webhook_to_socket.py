"""The main job: a webhook becomes rows and events, and every socket of the tenant sees it once."""

import asyncio

import psycopg
import pytest

from conftest import SyncConnection
from service.harness import TENANT, Gateway, create_inbox, token
from service.payloads import delivery, echoed, reported, said


async def test_a_message_reaches_the_socket_with_what_the_protocol_promises(
    gateway: Gateway, inbox_id: int
) -> None:
    async with gateway.session() as agent:
        assert (await gateway.post(delivery(said("hello", "w1")))).status_code == 200

        events = {event["type"]: event for event in await agent.events(2)}

    message = events["message:new"]["data"]["message"]
    conversation = events["conversation:new"]["data"]["conversation"]
    assert message["content"] == "hello"
    assert message["direction"] == "INBOUND"
    assert message["type"] == "TEXT"
    assert message["status"] == "DELIVERED"
    assert message["origin"] == "live"
    assert message["providerMessageId"] == "w1"
    assert message["timestamp"] == "2026-09-21T14:13:20.000Z"
    assert message["contact"] == {
        "id": conversation["contact"]["id"],
        "phoneNumber": "15550001",
        "name": "Ana",
    }
    assert message["inboxId"] == str(inbox_id)
    assert message["conversationId"] == conversation["id"]
    assert conversation["status"] == "OPEN"
    assert conversation["unreadCount"] == 1
    assert conversation["lastMessage"]["id"] == message["id"]
    assert [event["seq"] for event in events.values()] == [1, 2]
    assert "tenant:t1" in events["message:new"]["topics"]


async def test_a_second_message_updates_its_conversation(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("one", "w1")))
        await agent.events(2)
        await gateway.post(delivery(said("two", "w2")))

        events = await agent.events(2)

    assert [event["type"] for event in events] == ["message:new", "conversation:updated"]
    assert events[1]["data"]["updates"]["unreadCount"] == 2
    assert events[1]["data"]["conversation"]["lastMessage"]["content"] == "two"
    assert events[1]["data"]["conversation"]["version"] > 1


async def test_the_same_delivery_three_times_at_once_is_one_message(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        body = delivery(said("once", "w1"))
        answers = await asyncio.gather(*(gateway.post(body) for _ in range(3)))
        await gateway.post(delivery(said("after", "w2")))

        contents: list[str] = []
        while "after" not in contents:
            new = [event for event in await agent.events(1) if event["type"] == "message:new"]
            contents += [event["data"]["message"]["content"] for event in new]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert contents == ["once", "after"]
    assert owner.execute("select count(*) from chatsync.messages").fetchone() == (2,)


async def test_statuses_climb_whatever_their_order(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(echoed("from the phone", "w1")))
        await agent.events(2)
        await gateway.post(delivery(*(reported(s, "w1") for s in ("read", "sent", "delivered"))))
        await gateway.post(delivery(said("marker", "w2")))

        events = await agent.events(3)

    assert [e["type"] for e in events] == [
        "message:status-update",
        "message:new",
        "conversation:updated",
    ]
    assert events[0]["data"]["status"] == "READ"


async def test_a_status_that_comes_before_its_message_waits_for_it(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(reported("delivered", "w1")))
        await gateway.post(delivery(echoed("late", "w1")))

        events = await agent.events(2)

    assert [e["type"] for e in events] == ["conversation:new", "message:new"]
    assert events[1]["data"]["message"]["status"] == "DELIVERED"


async def test_each_change_of_a_delivery_goes_to_the_inbox_of_its_own_number(
    gateway: Gateway, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    body = delivery(said("for t1", "w1"))
    body["entry"] += delivery(said("for t2", "w2"), number="200")["entry"]
    async with (
        gateway.session() as first,
        gateway.session(token(tenant="t2")) as second,
    ):
        assert (await gateway.post(body)).status_code == 200

        contents = [
            [
                e["data"]["message"]["content"]
                for e in await agent.events(2)
                if "message" in e["data"]
            ]
            for agent in (first, second)
        ]

    assert contents == [["for t1"], ["for t2"]]


async def test_a_tenant_hears_nothing_of_another(gateway: Gateway, database_url: str) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    async with gateway.session(token(tenant="t2"), topics=["tenant", "tenant:t1"]) as stranger:
        assert stranger.seen[0]["refused"] == ["tenant:t1"]
        await gateway.post(delivery(said("secret", "w1")))
        await gateway.post(delivery(said("yours", "w2"), number="200"))

        events = await stranger.events(2)

    assert {e["type"]: e["seq"] for e in events} == {"conversation:new": 1, "message:new": 2}
    assert "secret" not in str(events)


async def test_contacts_known_by_two_names_are_one(gateway: Gateway, owner: SyncConnection) -> None:
    both = delivery(said("with phone", "w1"))
    both["entry"][0]["changes"][0]["value"]["contacts"][0]["user_id"] = "US.1000"
    alone = delivery(said("without", "w2"))
    value = alone["entry"][0]["changes"][0]["value"]
    value["contacts"] = [{"profile": {"name": "Ana"}, "user_id": "US.1000"}]
    value["messages"][0]["from_user_id"] = "US.1000"
    del value["messages"][0]["from"]
    async with gateway.session() as agent:
        await gateway.post(both)
        await agent.events(2)
        await gateway.post(alone)
        await agent.events(2)

    assert owner.execute("select count(*) from chatsync.contacts").fetchone() == (1,)
    assert owner.execute("select count(*) from chatsync.conversations").fetchone() == (1,)


async def test_one_bad_item_of_many_is_dead_lettered_alone(
    gateway: Gateway, owner: SyncConnection
) -> None:
    body = delivery(*(said(f"m{number}", f"w{number}") for number in range(100)))
    changes = body["entry"][0]["changes"]
    del changes[40]["value"]["messages"][0]["id"]
    # The parser has nothing against it, and PostgreSQL refuses it: no event may hold so much.
    changes[70]["value"]["messages"][0]["text"]["body"] = "x" * 1_100_000
    async with gateway.session() as agent:
        assert (await gateway.post(body)).status_code == 200
        await agent.events(98)

    rows = owner.execute(
        "select error_message from chatsync.failed_messages order by id"
    ).fetchall()
    assert rows[0] == ("no usable id",)
    assert "data_is_bounded" in str(rows[1][0])
    assert len(rows) == 2
    assert owner.execute("select count(*) from chatsync.messages").fetchone() == (98,)


async def test_text_that_postgresql_cannot_hold_is_kept_with_replacements(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("a\x00b\ud800c", "w1", customer="15550009")))

        events = await agent.events(2)

    assert events[1]["data"]["message"]["content"] == "a\ufffdb\ufffdc"
    assert owner.execute("select content from chatsync.messages").fetchone() == ("a\ufffdb\ufffdc",)


@pytest.mark.parametrize("topic", ["conversation", "tenant"])
async def test_an_event_with_two_held_topics_comes_once(gateway: Gateway, topic: str) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("one", "w1")))
        conversation = (await agent.events(2))[0]["data"]["conversation"]["id"]
        await agent.send(type="subscribe", id=1, topics=[f"conversation:{conversation}", topic[:6]])
        if topic == "tenant":
            await agent.next("reply")
        else:
            await agent.next("error")
            await agent.send(type="subscribe", id=2, topics=[f"conversation:{conversation}"])
            await agent.next("reply")
        await gateway.post(delivery(said("two", "w2")))

        events = await agent.events(2)

    assert [event["seq"] for event in events] == [3, 4]


async def test_an_event_published_by_a_foreign_writer_reaches_the_socket(
    gateway: Gateway, database_url: str
) -> None:
    async with gateway.session() as agent:
        with psycopg.connect(database_url, autocommit=True) as foreign:
            foreign.execute("set role chatsync_worker")
            foreign.execute(
                "select chatsync.publish(%s, array['user:u1'], 'app:event', '{\"a\": 1}')", [TENANT]
            )

        events = await agent.events(1)

    assert events[0]["type"] == "app:event"
    assert events[0]["data"] == {"a": 1}

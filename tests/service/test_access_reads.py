"""Nothing of a conversation that an agent may not see is told, by whatever door they ask."""

import asyncio
import json
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Gateway, token
from service.payloads import delivery, said
from service.streams import stream

pytestmark = pytest.mark.usefixtures("clean_logs")

SUPERVISOR = token("boss", role="supervisor")
# Agents see the conversations that are theirs; `bo` has the second one.
RULE = """
create or replace function chatsync.can_access_conversation(
  p_claims jsonb, p_conversation_id bigint) returns boolean language sql stable
return p_claims ->> 'role' = 'supervisor' or exists (
  select from chatsync.conversations v
  where v.conversation_id = p_conversation_id and v.assignee_id = p_claims ->> 'sub')
"""
CUSTOMERS = ("Ana", "Bea", "Cleo")


@pytest.fixture
async def conversations(gateway: Gateway, owner: SyncConnection) -> list[str]:
    """Three conversations, of which the second is bo's; only theirs may see one now."""
    async with gateway.session() as agent:
        for number, name in enumerate(CUSTOMERS):
            phone = f"1555000{number}"
            message = said(f"secret of {name}", f"w{number}", phone)
            await gateway.post(delivery(message, customer=phone, name=name))
            await agent.events_until(f"secret of {name}")
    ids = [str(row[0]) for row in owner.execute("select conversation_id from chatsync.conversations"
                                                " order by 1")]  # fmt: skip
    owner.execute(
        "update chatsync.conversations set assignee_id = 'bo' where conversation_id = %s", [ids[1]]
    )
    owner.execute(RULE)
    return ids


async def read(gateway: Gateway, path: str, jwt: str, **query: Any) -> Any:
    answer = await gateway.get(path, jwt, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def named(document: Any) -> set[str]:
    """The customers that anything in an answer speaks of."""
    text = json.dumps(document)
    return {name for name in CUSTOMERS if name in text}


async def test_a_list_has_what_may_be_seen_and_full_pages_of_it(
    gateway: Gateway, conversations: list[str]
) -> None:
    page = await read(gateway, "/api/conversations", token("bo"), limit=1)
    assert [item["id"] for item in page["items"]] == [conversations[1]]
    assert "next" not in page
    assert named(page) == {"Bea"}
    assert named(await read(gateway, "/api/conversations", SUPERVISOR)) == set(CUSTOMERS)
    assert (await read(gateway, "/api/conversations", token("cy")))["items"] == []


async def test_what_may_not_be_seen_is_as_unknown_as_what_is_not(
    gateway: Gateway, conversations: list[str]
) -> None:
    mine, other = conversations[1], conversations[0]
    for path in (f"/api/conversations/{mine}", f"/api/conversations/{mine}/messages"):
        assert named(await read(gateway, path, token("bo"))) == {"Bea"}
    for suffix in ("", "/messages"):
        hidden = await gateway.get(f"/api/conversations/{other}{suffix}", token("bo"))
        unknown = await gateway.get(f"/api/conversations/999999{suffix}", token("bo"))
        assert hidden.status_code == unknown.status_code == 404
        changing = {"correlationId": ""}
        assert hidden.json() | changing == unknown.json() | changing


async def test_a_snapshot_has_what_may_be_seen(gateway: Gateway, conversations: list[str]) -> None:
    page = await read(gateway, "/api/sync", token("bo"), limit=1)
    assert [each["id"] for each in page["conversations"]] == [conversations[1]]
    assert (named(page), page["hasMore"]) == ({"Bea"}, False)
    assert len(page["contacts"]) == len(page["messages"]) == 1
    whole = await read(gateway, "/api/sync", SUPERVISOR)
    assert named(whole) == set(CUSTOMERS)


async def test_what_changed_has_what_may_be_seen(
    gateway: Gateway, conversations: list[str], owner: SyncConnection
) -> None:
    assert conversations
    epoch = (await read(gateway, "/api/events", token("bo")))["to"].rpartition(".")[0]
    # News of a contact alone, and of one with whom nobody has spoken.
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'contact:updated',"
        " jsonb_build_object('contact', jsonb_build_object('id', contact_id::text)))"
        " from chatsync.contacts"
    )
    stranger = owner.execute(
        "insert into chatsync.contacts (tenant_id, name) values ('t1', 'Zoe') returning contact_id"
    ).fetchone()
    assert stranger is not None
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'contact:updated',"
        " jsonb_build_object('contact', jsonb_build_object('id', %s::text)))",
        [str(stranger[0])],
    )
    async with gateway.session(token("bo"), cursor=f"{epoch}.0") as agent:
        while '"Zoe"' not in json.dumps(await read(
            gateway, "/api/sync", token("bo"), cursor=f"{epoch}.0"
        )):  # fmt: skip
            await agent.events(1)
    changes = await read(gateway, "/api/sync", token("bo"), cursor=f"{epoch}.0")
    assert named(changes) == {"Bea"}
    assert [each["id"] for each in changes["conversations"]] == [conversations[1]]
    assert len(changes["messages"]) == 1
    assert sorted(each["name"] for each in changes["contacts"]) == ["Bea", "Zoe"]
    whole = await read(gateway, "/api/sync", SUPERVISOR, cursor=f"{epoch}.0")
    assert named(whole) == set(CUSTOMERS)


async def hear(gateway: Gateway, door: str, cursor: str, jwt: str) -> list[Any]:
    """The events after a cursor through one of the doors, up to the one that says `last`."""
    found: list[Any] = []
    if door == "poll":
        while not is_last(found):
            page = await read(gateway, "/api/events", jwt, cursor=cursor)
            found, cursor = found + page["events"], page["to"]
    elif door == "stream":
        async with stream(gateway, jwt, cursor=cursor) as listener:
            while not is_last(found):
                found += (await listener.next("events"))["events"]
    else:
        async with gateway.session(jwt, cursor=cursor) as agent:
            while not is_last(found):
                found += await agent.events(1)
    return found


def is_last(found: list[Any]) -> bool:
    return bool(found) and found[-1]["type"] == "last"


@pytest.mark.parametrize("door", ["socket", "stream", "poll"])
async def test_a_replay_of_the_tenants_topic_leaves_out_what_may_not_be_seen(
    gateway: Gateway, conversations: list[str], owner: SyncConnection, door: str
) -> None:
    assert conversations
    epoch = (await read(gateway, "/api/events", token("bo")))["to"].rpartition(".")[0]
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'contact:updated',"
        " jsonb_build_object('contact', jsonb_build_object('id', contact_id::text, 'name', name)))"
        " from chatsync.contacts"
    )
    owner.execute("select chatsync.publish('t1', array['tenant:t1'], 'last', '{}')")
    mine = await hear(gateway, door, f"{epoch}.0", token("bo"))
    assert named(mine) == {"Bea"}
    types = [event["type"] for event in mine]
    assert types[:2] == ["conversation:new", "message:new"]
    assert types[-2:] == ["contact:updated", "last"]
    assert named(await hear(gateway, door, f"{epoch}.0", SUPERVISOR)) == set(CUSTOMERS)


async def test_live_events_are_left_out_and_the_position_goes_on(
    gateway: Gateway, conversations: list[str], owner: SyncConnection
) -> None:
    assert conversations
    async with (
        gateway.session(token("bo")) as bo,
        gateway.session(SUPERVISOR) as boss,
        stream(gateway, token("bo")) as listener,
    ):
        await listener.next("connected")
        cursor = (await read(gateway, "/api/events", token("bo")))["to"]
        polling = asyncio.create_task(gateway.get("/api/events", token("bo"), cursor=cursor))
        for number, name in enumerate(CUSTOMERS):
            phone = f"1555000{number}"
            message = said(f"more of {name}", f"x{number}", phone)
            await gateway.post(delivery(message, customer=phone, name=name))
            await boss.until_said(f"more of {name}")
        owner.execute("select chatsync.publish('t1', array['tenant:t1'], 'last', '{}')")
        heard: list[Any] = []
        while not is_last(heard):
            heard += await bo.events(1)
        streamed: list[Any] = []
        while not is_last(streamed):
            streamed += (await listener.next("events"))["events"]
        assert named(heard) == named(streamed) == {"Bea"}
        assert [each["seq"] for each in heard] == [each["seq"] for each in streamed]
        assert named((await polling).json()) == {"Bea"}


async def test_what_is_seen_changes_when_access_changes(
    gateway: Gateway, conversations: list[str], owner: SyncConnection
) -> None:
    async with gateway.session(token("bo")) as bo:
        say = (
            "select chatsync.publish('t1', array['tenant:t1', 'conversation:' || %s], 'said',"
            " jsonb_build_object('n', %s::int))"
        )
        with owner.transaction():
            owner.execute(say, [conversations[0], 1])
            owner.execute(say, [conversations[1], 2])
            owner.execute(
                "update chatsync.conversations set assignee_id = 'bo' where conversation_id = %s",
                [conversations[0]],
            )
            owner.execute(
                "update chatsync.conversations set assignee_id = 'cy' where conversation_id = %s",
                [conversations[1]],
            )
            owner.execute("select chatsync.access_changed('t1', 'bo')")
            owner.execute(say, [conversations[0], 3])
            owner.execute(say, [conversations[1], 4])
            owner.execute("select chatsync.publish('t1', array['tenant:t1'], 'last', '{}')")
        heard: list[Any] = []
        while not is_last(heard):
            heard += await bo.events(1)
        numbers = {event["data"]["n"] for event in heard if event["type"] == "said"}
        # What came before the change may be judged by the new rule; what came after it must be.
        assert 3 in numbers
        assert 4 not in numbers


async def test_a_rule_that_is_put_in_place_holds_for_open_sessions(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session(token("bo")) as bo:
        await gateway.post(delivery(said("before", "w1")))
        await bo.events_until("before")
        with owner.transaction():
            owner.execute(RULE)
            owner.execute("select chatsync.access_changed('t1', 'bo')")
        await gateway.post(delivery(said("after", "w2")))
        async with gateway.session(SUPERVISOR) as boss:
            await gateway.post(delivery(said("marker", "w3")))
            await boss.until_said("marker")
        owner.execute("select chatsync.publish('t1', array['tenant:t1'], 'last', '{}')")
        heard: list[Any] = []
        while not is_last(heard):
            heard += await bo.events(1)
        assert [event["type"] for event in heard] == ["access:changed", "last"]

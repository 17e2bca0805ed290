"""Nothing of a conversation that an agent may not see is read over HTTP, by whatever question."""

import json
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Gateway, token
from service.payloads import delivery, said

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

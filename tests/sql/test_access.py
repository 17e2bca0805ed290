"""Who may hear what: the rule as it comes, replaced by an operator, and that it changed."""

import json

import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.queue_calls import value
from sql.story import Story, said, who

CLAIMS = Jsonb({"tenant": "t1", "sub": "u1", "role": "agent"})


@pytest.fixture
def gateway(connections: Connections, tenant: str) -> SyncConnection:
    return connections.open("chatsync_gateway", tenants=tenant)


def refused(gateway: SyncConnection, *topics: str) -> list[str]:
    return value(gateway, "select chatsync.refused_topics(%s, %s)", [CLAIMS, list(topics)])


def test_an_agent_hears_the_own_tenant_user_presence_and_conversations(
    gateway: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    story = Story(worker)
    story.tell(said("a", who("phone:1"), second=1))
    mine = f"conversation:{value(owner, 'select conversation_id from chatsync.conversations')}"

    assert refused(gateway, "tenant:t1", "user:u1", "presence:t1", mine) == []
    foreign = ["tenant:t2", "user:u2", "presence:t2", "conversation:0", "order:1", mine + "x"]
    assert refused(gateway, *foreign) == foreign
    assert refused(gateway, "user:u2", mine, "conversation:" + "9" * 18) == [
        "user:u2",
        "conversation:" + "9" * 18,
    ]
    odd = ["conversation:", "conversation:-1", "conversation:" + "9" * 19, f" {mine}", f"{mine}\n"]
    assert refused(gateway, *odd) == odd
    assert refused(gateway) == []


def test_only_the_rule_as_it_comes_is_known_to_show_everything(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    asked = "select chatsync.sees_all_conversations()"
    assert value(gateway, asked) is True
    for rule in ("return true", "as $$ select true $$", "return p_conversation_id is not null"):
        owner.execute(
            "create or replace function chatsync.can_access_conversation(p_claims jsonb,"
            f" p_conversation_id bigint) returns boolean language sql stable {rule}".encode()
        )
        assert value(gateway, asked) is False
    owner.execute("drop function chatsync.can_access_conversation(jsonb, bigint)")
    assert value(gateway, asked) is False


def test_an_operators_rule_holds_for_topics_and_for_conversations(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(
        "create or replace function chatsync.can_access_conversation(p_claims jsonb,"
        " p_conversation_id bigint) returns boolean language sql stable"
        " return p_conversation_id % 2 = 0"
    )
    asked = [f"conversation:{number}" for number in range(1, 5)]
    assert refused(gateway, *asked) == ["conversation:1", "conversation:3"]

    owner.execute(
        "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
        " returns boolean language sql stable return not 'user:u1' = any (p_topics)"
    )
    assert refused(gateway, "user:u1", "order:1") == ["user:u1"]


def test_a_rule_that_does_not_know_grants_nothing(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(
        "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
        " returns boolean language sql stable return null::boolean"
    )
    assert refused(gateway, "user:u1") == ["user:u1"]


def test_a_change_of_access_is_an_event_of_the_changing_transaction(
    connections: Connections, owner: SyncConnection, tenant: str
) -> None:
    assert tenant
    operator = connections.open("chatsync_operator")
    with operator.transaction(force_rollback=True):
        operator.execute("select chatsync.access_changed('t1', 'u1')")
    assert value(owner, "select count(*) from chatsync.outbox") == 0
    operator.execute("select chatsync.access_changed('t1', 'u1')")
    row = owner.execute("select topics, type, data::text from chatsync.outbox").fetchone()
    assert row is not None
    assert (row[0], row[1]) == (["user:u1"], "access:changed")
    assert json.loads(str(row[2])) == {"userId": "u1"}

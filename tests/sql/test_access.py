"""Who may hear what: the rule as it comes, replaced by an operator, and that it changed."""

import json
from collections.abc import Mapping

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


def refused_of_each(gateway: SyncConnection, *questions: Mapping[str, object]) -> list[list[str]]:
    rows = gateway.execute("select chatsync.refused_topics_of_each(%s)", [Jsonb(list(questions))])
    return [row[0] for row in rows.fetchall()]  # type: ignore[misc]


def asks(topic: str, tenant: str = "t1", user: str = "u1") -> dict[str, object]:
    return {"tenant": tenant, "sub": user, "role": "agent", "topics": ["tenant:t1", topic]}


def test_many_are_answered_in_order_each_as_if_it_were_alone(gateway: SyncConnection) -> None:
    questions = [asks("user:u1"), asks("user:u2"), asks("user:u2", user="u2"), asks("x", "t2")]
    assert refused_of_each(gateway, *questions) == [[], ["user:u2"], [], ["tenant:t1", "x"]]
    assert refused_of_each(gateway) == []
    nothing = {"tenant": "t1", "sub": "u1", "role": "agent", "topics": []}
    assert refused_of_each(gateway, nothing) == [[]]


def test_an_operators_rule_sees_one_tenant_for_each_of_many(
    connections: Connections, tenant: str, worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("select chatsync.create_tenant('t2')")
    owner.execute(
        "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
        " returns boolean language sql stable"
        " return (select array_agg(tenant_id order by tenant_id) from chatsync.tenants) = p_topics"
    )
    gateway = connections.open("chatsync_gateway")
    seen = [
        {"tenant": tenant, "sub": "u1", "role": "agent", "topics": [topic]}
        for tenant in ("t1", "t2", "t1")
        for topic in ("t1", "t2")
    ]
    assert refused_of_each(gateway, *seen) == [[], ["t2"], ["t1"], [], [], ["t2"]]


def test_of_many_that_take_long_the_first_are_answered(
    gateway: SyncConnection, owner: SyncConnection
) -> None:
    owner.execute(
        "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
        " returns boolean language sql volatile"
        " return (select true from pg_sleep(case when 'slow' = any (p_topics) then 0.3 end))"
    )
    assert refused_of_each(gateway, asks("slow"), asks("x"), asks("y")) == [[]]
    assert refused_of_each(gateway, asks("x"), asks("slow"), asks("y")) == [[], []]


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

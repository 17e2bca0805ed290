"""Access that is taken away is gone before the next event, on every gateway and transport."""

import asyncio
from typing import Any

from conftest import SyncConnection
from service.following import hear, numbers, say, until
from service.harness import Client, Gateway, running_gateway, settings_for, token
from service.payloads import delivery, said

RULE = (
    "create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[])"
    " returns boolean language sql stable return "
)
NO_CONVERSATION = "not exists (select from unnest(p_topics) as t where t like 'conversation:%')"
# Answers what was true before it waits, as a rule that takes long does.
SLOW_RULE = """
create or replace function chatsync.can_subscribe(p_claims jsonb, p_topics text[]) returns boolean
language plpgsql volatile as $$
begin
  if p_claims ->> 'sub' = 'u1' then
    perform pg_advisory_xact_lock_shared(77);
  end if;
  return true;
end
$$"""

HIDDEN = """
create or replace function chatsync.can_access_conversation(
  p_claims jsonb, p_conversation_id bigint)
returns boolean language sql stable return false"""


def is_asking(owner: SyncConnection) -> bool:
    """Whether a rule waits."""
    waiting = "select exists (select from pg_locks where objid = 77 and not granted)"
    return bool((owner.execute(waiting).fetchone() or [False])[0])


async def conversation(gateway: Gateway) -> str:
    """The topic of a conversation that has begun."""
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hello", "w1")))
        event = (await agent.events_until("hello"))[-1]
    return f"conversation:{event['data']['conversationId']}"


async def end_of(agent: Client, kind: str) -> str:
    """Where the frame ends that brings an event of this kind."""
    while True:
        frame = await agent.next("events")
        if kind in {event["type"] for event in frame["events"]}:
            return str(frame["to"])


async def test_nothing_after_a_change_of_access_reaches_who_lost_it(
    gateway: Gateway, database_url: str, worker: SyncConnection, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    settings = settings_for(database_url)
    async with (
        running_gateway(settings, with_worker=False) as other,
        gateway.session(topics=[topic, "tenant"]) as here,
        # Who does not listen to its own topic is judged all the same.
        other.session(topics=[topic, "tenant"]) as there,
        gateway.session(topics=[topic], jwt=token("u2")) as neighbour,
    ):
        with owner.transaction():
            say(owner, 1, topic=topic)
            owner.execute(f"{RULE}p_claims ->> 'sub' <> 'u1' or {NO_CONVERSATION}")
            owner.execute("select chatsync.access_changed('t1', 'u1')")
            say(owner, 2, topic=topic)
        for agent in (here, there):
            reset = await agent.next("reset")
            assert (reset["reason"], reset["topics"]) == ("access", [topic])
            seen = [frame for frame in agent.seen if frame["type"] == "events"]
            assert numbers(seen) == [1]
        say(worker, 3, topic=topic)
        say(worker, 4)
        for agent in (here, there):
            assert numbers(await hear(agent, 4)) == [4]
            await agent.send(type="subscribe", id=1, topics=[topic])
            assert (await agent.next("error"))["code"] == "forbidden"
        assert numbers(await hear(neighbour, 3)) == [1, 2, 3]


async def test_a_replay_stops_at_a_change_of_access_as_well(
    gateway: Gateway, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    async with gateway.session(topics=[topic]) as agent:
        cursor = agent.seen[0]["cursor"]
    with owner.transaction():
        say(owner, 1, topic=topic)
        owner.execute("select chatsync.access_changed('t1', 'u1')")
        say(owner, 2, topic=topic)
    async with gateway.session(topics=[topic], cursor=cursor) as agent:
        assert numbers(await hear(agent, 2)) == [1, 2]


async def test_who_may_hear_nothing_any_longer_is_sent_away(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent, gateway.session() as empty:
        await empty.send(type="unsubscribe", id=1, topics=["tenant", "user"])
        await empty.next("reply")
        with owner.transaction():
            owner.execute(f"{RULE}p_claims ->> 'sub' <> 'u1'")
            owner.execute("select chatsync.access_changed('t1', 'u1')")
        for session in (agent, empty):
            code, closing = await session.closed()
            assert code == closing["code"] == 4504


async def test_a_change_is_judged_when_nothing_comes_after_it(
    gateway: Gateway, database_url: str, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    # No timer of the session steps in, either.
    settings = settings_for(database_url, ping_interval_ms=600_000, connect_timeout_ms=60_000)
    async with (
        running_gateway(settings, with_worker=False) as other,
        other.session(topics=[topic, "tenant", "user"]) as agent,
    ):
        with owner.transaction():
            owner.execute(RULE + NO_CONVERSATION)
            owner.execute("select chatsync.access_changed('t1', 'u1')")
        reset = await agent.next("reset")
        assert (reset["reason"], reset["topics"]) == ("access", [topic])


async def test_who_loses_a_conversation_is_not_told_who_types_in_it(
    gateway: Gateway, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    async with (
        gateway.session(topics=[topic, "tenant"]) as agent,
        gateway.session(topics=[topic], jwt=token("u2")) as neighbour,
        gateway.session(jwt=token("u3")) as typist,
    ):
        answer = f"return p_claims ->> 'sub' <> 'u1' or {NO_CONVERSATION}"
        owner.execute(SLOW_RULE.replace("return true", answer))
        owner.execute("select pg_advisory_lock(77)")
        owner.execute("select chatsync.access_changed('t1', 'u1')")
        await until(lambda: is_asking(owner))
        # Comes while it is asked what the agent may hear.
        number = topic.removeprefix("conversation:")
        await typist.send(type="typing", conversationId=number, active=True)
        assert (await neighbour.next("ephemeral"))["topic"] == topic
        owner.execute("select pg_advisory_unlock(77)")
        assert (await agent.next("reset"))["topics"] == [topic]
        await agent.send(type="ping", n=1)
        await agent.next("pong")
        assert "ephemeral" not in {frame["type"] for frame in agent.seen}


async def test_a_refreshed_token_is_judged_by_what_it_says_now(
    gateway: Gateway, worker: SyncConnection, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    owner.execute(f"{RULE}p_claims ->> 'role' = 'supervisor' or {NO_CONVERSATION}")
    async with gateway.session(
        topics=["tenant", "user", topic], jwt=token(role="supervisor")
    ) as agent:
        assert topic in agent.seen[0]["topics"]
        await agent.send(type="refresh", id=1, token=token(role="supervisor"))
        await agent.next("reply")
        await agent.send(type="refresh", id=2, token=token())
        assert (await agent.next("reply"))["id"] == 2
        reset = await agent.next("reset")
        assert (reset["reason"], reset["topics"]) == ("access", [topic])
        await agent.send(type="subscribe", id=3, topics=[topic])
        assert (await agent.next("error"))["code"] == "forbidden"
        say(worker, 1)
        await hear(agent, 1)


async def test_a_change_that_changes_nothing_is_not_noticed(
    gateway: Gateway, worker: SyncConnection, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        owner.execute("select chatsync.access_changed('t1', 'u1')")
        say(worker, 1)
        assert numbers(await hear(agent, 1)) == [1]
        assert [frame["type"] for frame in agent.seen[1:]] == []


async def test_a_long_poll_ends_when_access_is_taken_away(
    gateway: Gateway, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    cursor = (await gateway.get("/api/events")).json()["to"]
    polling = asyncio.create_task(gateway.get("/api/events", cursor=cursor, topics=topic, wait=20))
    with owner.transaction():
        owner.execute(RULE + NO_CONVERSATION)
        owner.execute("select chatsync.access_changed('t1', 'u1')")
        say(owner, 1, topic=topic)
    answer = await polling
    # The poll may have been judged after the change.
    assert answer.status_code in (410, 403)
    assert answer.json()["code"] in ("reset", "forbidden")


async def test_a_change_while_a_session_begins_is_noticed(
    gateway: Gateway, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    owner.execute(SLOW_RULE)
    owner.execute("select pg_advisory_lock(77)")
    async with gateway.session(jwt=token("u2")) as neighbour, gateway.raw() as agent:
        await agent.send(type="connect", token=token(), topics=["tenant", topic])
        await until(lambda: is_asking(owner))
        with owner.transaction():
            owner.execute(RULE + NO_CONVERSATION)
            owner.execute("select chatsync.access_changed('t1', 'u1')")
            say(owner, 1)
        await hear(neighbour, 1)
        owner.execute("select pg_advisory_unlock(77)")
        assert topic in (await agent.next("connected"))["topics"]
        reset = await agent.next("reset")
        assert (reset["reason"], reset["topics"]) == ("access", [topic])


async def test_a_takeover_past_a_change_is_judged_by_it(
    gateway: Gateway, owner: SyncConnection
) -> None:
    topic = await conversation(gateway)
    hello: dict[str, Any] = {"topics": ["tenant", "user"], "device": "phone"}
    owner.execute("select pg_advisory_lock(77)")
    async with gateway.session(**hello) as first, gateway.raw() as second:
        owner.execute(SLOW_RULE)
        await second.send(type="connect", token=token(), **hello)
        await until(lambda: is_asking(owner))
        with owner.transaction():
            owner.execute(RULE + "true")
            owner.execute(HIDDEN)
            owner.execute("select chatsync.access_changed('t1', 'u1')")
        taken = await end_of(first, "access:changed")
        await first.send(type="ack", cursor=taken)
        kept = "select epoch || '.' || seq = %s from chatsync.receipts where device = 'phone'"
        await until(lambda: (owner.execute(kept, [taken]).fetchone() or [False])[0])
        owner.execute("select pg_advisory_unlock(77)")
        assert (await second.next("connected"))["cursor"] == taken
        for number, topics in enumerate((["tenant:t1", topic], ["tenant:t1"])):
            owner.execute(
                "select chatsync.publish('t1', %s, 'test', jsonb_build_object('n', %s::int))",
                [topics, number],
            )
        assert numbers(await hear(second, 1)) == [1]


async def test_of_many_who_ask_at_once_one_that_fails_harms_no_other(
    gateway: Gateway, owner: SyncConnection
) -> None:
    owner.execute(f"{RULE}1 / (case p_claims ->> 'sub' when 'u1' then 0 else 1 end) = 1")

    async def opens(user: str) -> bool:
        async with gateway.raw() as agent:
            await agent.send(type="connect", token=token(user))
            return (await agent.next("connected", "closing"))["type"] == "connected"

    users = [f"u{number % 5}" for number in range(30)]
    assert await asyncio.gather(*map(opens, users)) == [user != "u1" for user in users]

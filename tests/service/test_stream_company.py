"""Presence and typing in a stream: as in a session, but for what its client cannot say."""

from collections.abc import AsyncGenerator

import pytest

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for, token
from service.payloads import Frame, delivery, said
from service.presence import QUICK, WATCHER, watching
from service.streams import Stream, stream, until_left

pytestmark = pytest.mark.usefixtures("clean_logs")


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    async with running_gateway(settings_for(database_url, **QUICK)) as running:
        yield running


async def company(listener: Stream) -> Frame:
    return await listener.next("ephemeral")


async def test_a_stream_hears_who_is_online_and_what_changes(gateway: Gateway) -> None:
    async with stream(gateway, token("ana"), topics="presence") as listener:
        position = (await listener.next("connected"))["cursor"]
        state = await company(listener)
        assert (state["event"], state["topic"]) == ("presence:state", "presence:t1")
        async with gateway.session(token("bo")):
            update = await company(listener)
            while update["data"]["userId"] != "bo":
                update = await company(listener)
            assert (update["event"], update["data"]["status"]) == ("presence:update", "online")
        assert (await company(listener))["data"]["status"] == "offline"
        # What is not in the log moves no position.
        assert listener.position == position


async def test_whoever_listens_to_a_stream_is_online(gateway: Gateway) -> None:
    async with gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        async with stream(gateway, token("ana")) as listener:
            await listener.next("connected")
            await watch.until(ana="online")
            users = (await gateway.get("/api/presence")).json()["users"]
            assert "ana" in {user["userId"] for user in users}
        await watch.until()


async def test_a_stream_hears_typing_of_its_conversations_alone(gateway: Gateway) -> None:
    async with gateway.session(token("ana")) as ana:
        await gateway.post(delivery(said("hello", "w1")))
        data = (await ana.events(1))[0]["data"]
        conversation = data.get("conversationId") or data["conversation"]["id"]
        topic = f"conversation:{conversation}"
        async with (
            stream(gateway, token("bo"), topics=topic) as here,
            stream(gateway, token("cy")) as elsewhere,
        ):
            await here.next("connected")
            await elsewhere.next("connected")
            for is_active, event in ((True, "typing:start"), (False, "typing:stop")):
                await ana.send(type="typing", conversationId=conversation, active=is_active)
                frame = await company(here)
                assert (frame["event"], frame["topic"]) == (event, topic)
                assert frame["data"] == {"conversationId": conversation, "userId": "ana"}
            await gateway.post(delivery(said("bye", "w2")))
            assert (await elsewhere.next())["type"] == "events"
    await until_left(gateway)


async def test_typing_ends_with_the_access_to_its_conversation(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session(token("ana")) as ana:
        await gateway.post(delivery(said("hello", "w1")))
        data = (await ana.events(1))[0]["data"]
        conversation = data.get("conversationId") or data["conversation"]["id"]
        topic = f"conversation:{conversation}"
        async with stream(gateway, token("bo"), topics=f"user,{topic}") as listener:
            await listener.next("connected")
            with owner.transaction():
                owner.execute(
                    "create or replace function chatsync.can_access_conversation(p_claims jsonb,"
                    " p_conversation_id bigint) returns boolean language sql stable"
                    " return p_claims ->> 'sub' <> 'bo'"
                )
                owner.execute("select chatsync.access_changed('t1', 'bo')")
            assert (await listener.next("reset"))["topics"] == [topic]
            await ana.send(type="typing", conversationId=conversation, active=True, id=1)
            await ana.next("reply")
            owner.execute("select chatsync.publish('t1', array['user:bo'], 'test', '{}')")
            assert (await listener.next())["type"] == "events"

"""The Python client against gateways that say what they should not, or break off."""

import asyncio

import pytest

from chatsync.client import (
    Client,
    Connected,
    ConnectionLost,
    Disconnected,
    Ephemeral,
    Event,
    Pace,
    ProtocolViolation,
    SessionEnded,
)
from chatsync.errors import Conflict, NotFound
from service.application import PACE, application
from service.fake_gateway import Agent, connected, events, fake_gateway
from service.harness import free_port
from virtual_session import Frame, cursor

CLOSING: Frame = {"type": "closing", "code": 4100, "reason": "bye", "retryMs": [0, 10]}


async def stay(agent: Agent) -> None:
    await agent.say(connected(4))
    await agent.stay()


@pytest.mark.parametrize(
    "garbage", ["hello", "[]", "{}", '{"type": "events"}', '{"type": "ping", "cursor": 7}'], ids=str
)
async def test_what_cannot_be_understood_ends_the_connection_and_not_the_client(
    garbage: str,
) -> None:
    async def rave(agent: Agent) -> None:
        await agent.say(connected(4), events(4, 5, 5), garbage)
        await agent.stay()

    async def recover(agent: Agent) -> None:
        assert agent.hello["cursor"] == cursor(5)
        await agent.say(connected(5), events(5, 6, 6))
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [rave, recover]
        pace = Pace(uniform=lambda least, most: 0.0)
        async with application(fake.address, "jwt", cursor=cursor(4), pace=pace) as it:
            await it.until(lambda: it.numbers == [5, 6])
            (gone,) = it.some(Disconnected)
            assert gone.code == 4999
            assert gone.reason


async def test_a_server_of_another_kind_is_told_to_the_application() -> None:
    async def rave(agent: Agent) -> None:
        await agent.say("220 mail.example.com ESMTP")
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [rave] * 5
        pace = Pace(uniform=lambda least, most: 0.0)
        async with application(fake.address, "jwt", pace=pace) as it:
            assert isinstance(await it.ended(), ProtocolViolation)


@pytest.mark.parametrize("code", [4500, 4501, 4503, 4504, 4505, 4506, 1009])
async def test_codes_that_want_no_client_back_stop_it_with_their_number(code: int) -> None:
    async def refuse(agent: Agent) -> None:
        await agent.say(connected(4), {**CLOSING, "code": code})
        await agent.close(code)

    async with fake_gateway() as fake:
        fake.talks = [refuse]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            error = await it.ended()
            assert isinstance(error, SessionEnded)
            assert error.close_code == code
            assert fake.upgrades == 1


@pytest.mark.parametrize(("code", "keeps"), [(4100, True), (4401, False), (1012, True)])
async def test_the_range_says_whether_the_cursor_is_kept(code: int, keeps: bool) -> None:
    hellos: list[Frame] = []

    async def leave(agent: Agent) -> None:
        await agent.say(connected(4), {**CLOSING, "code": code})
        await agent.close(code)

    async def listen(agent: Agent) -> None:
        hellos.append(agent.hello)
        await agent.say(connected(4) if keeps else connected(4, reason="new"))
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [leave, listen]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            await it.until_some(Connected, 2)
            assert [item.code for item in it.some(Disconnected)] == [code]
    assert ("cursor" in hellos[0]) == keeps


async def test_silence_is_noticed_and_ended() -> None:
    async def fall_silent(agent: Agent) -> None:
        await agent.say(connected(4, heartbeat={"intervalMs": 30, "timeoutMs": 20}))
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [fall_silent, stay]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            await it.until_some(Connected, 2)
            assert [item.reason for item in it.some(Disconnected)] == [
                "nothing was heard for too long"
            ]


async def test_what_was_taken_is_acknowledged_and_what_is_in_the_hand_is_not() -> None:
    acknowledged: asyncio.Queue[str] = asyncio.Queue()

    async def listen(agent: Agent) -> None:
        await agent.say(connected(4), events(4, 7, 5, 6, 7))
        while True:
            acknowledged.put_nowait((await agent.hears("ack"))["cursor"])

    async with fake_gateway() as fake:
        fake.talks = [listen]
        async with Client(fake.address, "jwt", cursor=cursor(4), pace=PACE) as client:
            items = client.events()
            for seq in (5, 6):
                while not isinstance(item := await anext(items), Event):
                    pass
                assert item.seq == seq
            assert await asyncio.wait_for(acknowledged.get(), 10) == cursor(5)
            assert client.cursor == cursor(5)
            await anext(items)
        # Leaving acknowledges what was taken, and not what was not.
        assert await asyncio.wait_for(acknowledged.get(), 10) == cursor(6)
        assert acknowledged.empty()


async def test_a_message_is_sent_again_with_its_client_id_until_it_is_answered() -> None:
    sent: list[Frame] = []

    async def forget(agent: Agent) -> None:
        await agent.say(connected(4))
        sent.append(await agent.hears("send"))
        await agent.say(CLOSING)
        await agent.close(4100)

    async def answer(agent: Agent) -> None:
        await agent.say(connected(4))
        sent.append(await agent.hears("send"))
        await agent.say({"type": "reply", "id": sent[1]["id"], "data": {"message": {"id": "9"}}})
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [forget, answer]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            stored = await it.client.send("1", {"type": "TEXT", "text": "hello"})
    assert stored == {"id": "9"}
    assert sent[0] == sent[1]
    assert len(sent[0]["clientId"]) == 36
    assert sent[0]["message"] == {"type": "TEXT", "text": "hello"}


async def test_what_cannot_be_repeated_is_told_as_lost_and_errors_by_their_class() -> None:
    async def answer(agent: Agent) -> None:
        await agent.say(connected(4))
        read = await agent.hears("read")
        error = {"type": "error", "id": read["id"], "code": "not_found", "message": "which?"}
        await agent.say({**error, "retryable": False})
        accept = await agent.hears("accept")
        conflict = {**error, "id": accept["id"], "code": "conflict", "retryable": False}
        await agent.say({**conflict, "data": {"conversation": {"version": 3}}})
        transfer = await agent.hears("transfer")
        assert transfer["toUserId"] is None
        await agent.close(1012)

    async with fake_gateway() as fake:
        fake.talks = [answer, stay]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            with pytest.raises(NotFound, match=r"which\?"):
                await it.client.read("1")
            with pytest.raises(Conflict) as caught:
                await it.client.accept("1", version=2)
            assert caught.value.data == {"conversation": {"version": 3}}
            with pytest.raises(ConnectionLost):
                await it.client.transfer("1", None)


async def test_typing_is_said_and_heard_and_dropped_where_nobody_is() -> None:
    async def listen(agent: Agent) -> None:
        await agent.say(connected(4))
        typing = await agent.hears("typing")
        assert (typing["conversationId"], typing["active"]) == ("1", True)
        assert (await agent.hears("presence"))["status"] == "away"
        heard = {"type": "ephemeral", "event": "typing:start", "topic": "conversation:1"}
        await agent.say({**heard, "data": {"userId": "u2"}, "ttlMs": 3000})
        await agent.stay()

    async with fake_gateway() as fake:
        fake.talks = [listen]
        async with application(fake.address, "jwt", cursor=cursor(4)) as it:
            assert not it.client.typing("1")
            await it.until_some(Connected)
            assert it.client.typing("1")
            assert it.client.presence("away")
            (heard,) = await it.until_some(Ephemeral)
            assert heard == Ephemeral("typing:start", "conversation:1", {"userId": "u2"}, 3000)


async def test_attempts_end_where_they_are_limited() -> None:
    pace = Pace(uniform=lambda least, most: 0.0, max_attempts=3)
    async with application(f"http://127.0.0.1:{free_port()}", "jwt", pace=pace) as it:
        error = await it.ended()
        assert isinstance(error, SessionEnded)
        assert "3 attempts" in error.message


async def test_an_address_is_that_of_the_gateway_or_of_its_socket() -> None:
    async with fake_gateway() as fake:
        for address in (
            fake.address,
            f"{fake.address}/",
            fake.address.replace("http", "ws") + "/ws",
        ):
            fake.talks = [stay]
            async with application(address, "jwt", cursor=cursor(4)) as it:
                await it.until_some(Connected)
    with pytest.raises(ValueError, match="begins with"):
        Client("gateway.example", "jwt")

"""The Python client where WebSockets do not get through: streams, then polls, one cursor."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatsync.client import (
    Connected,
    Disconnected,
    Event,
    Pace,
    SessionEnded,
    SnapshotNeeded,
)
from chatsync.errors import Forbidden
from service.application import application
from service.fake_gateway import (
    Agent,
    Answer,
    connected,
    events,
    fake_gateway,
    polled,
    problem,
    stream_of,
)
from service.harness import PATIENCE_SECONDS
from virtual_session import Frame, cursor

# Limited, so that what never works ends.
AT_ONCE = Pace(uniform=lambda least, most: least, max_attempts=12)


async def for_ever() -> None:
    await asyncio.Event().wait()


def streams(*talks: list[Frame]) -> tuple[list[dict[str, str]], Answer]:
    """Answers one stream after the other; the last one stays open. Keeps what was asked."""
    asked: list[dict[str, str]] = []
    left = list(talks)

    async def stream(request: Request) -> Response:
        asked.append(dict(request.query_params))
        talk = left.pop(0)

        async def frames() -> AsyncIterator[Frame]:
            for frame in talk:
                yield frame
            if not left:
                await for_ever()

        return stream_of(frames())

    return asked, stream


async def test_after_three_refused_upgrades_a_stream_brings_the_events() -> None:
    async with fake_gateway() as fake:
        asked, fake.stream = streams(
            [connected(4), events(4, 6, 5, 6), {"type": "ping", "n": 1, "cursor": cursor(8)}],
            [connected(8), events(8, 9, 9)],
        )
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            await it.until(lambda: it.numbers == [5, 6, 9])
            assert fake.upgrades == 3
            assert [each.transport for each in it.some(Connected)] == ["sse", "sse"]
            assert it.client.transport == "sse"
        assert asked == [
            {"topics": "tenant,user", "cursor": cursor(4)},
            {"topics": "tenant:t1,user:u1", "cursor": cursor(8)},
        ]


async def test_a_reset_and_closing_in_a_stream_are_what_they_are_in_a_session() -> None:
    async with fake_gateway() as fake:
        _, fake.stream = streams(
            [
                connected(4),
                {"type": "reset", "reason": "trimmed", "cursor": cursor(9)},
                {"type": "closing", "code": 4100, "reason": "bye", "retryMs": [0, 1]},
            ],
            [connected(12, reason="new"), events(12, 13, 13)],
        )
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            it.takes_snapshots = False
            await it.until(lambda: it.numbers == [13])
            assert [item.reason for item in it.some(SnapshotNeeded)] == ["trimmed", "new"]
            assert [item.code for item in it.some(Disconnected)] == [4100]


async def test_topics_are_changed_by_another_stream_from_the_same_cursor() -> None:
    async with fake_gateway() as fake:
        _, fake.stream = streams(
            [connected(4), events(4, 5, 5)],
            [connected(5, topics=["tenant:t1", "conversation:1"], refused=["user:u2"])],
            [connected(5, topics=["tenant:t1", "conversation:1"], refused=["user:u2"])],
        )
        fake.talks = []
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            await it.until(lambda: it.numbers == [5])
            await it.until_some(Connected, 2)
            added = await it.client.subscribe("conversation:1")
            assert added.topics == ("conversation:1",)
            with pytest.raises(Forbidden):
                await it.client.subscribe("user:u2")
            assert it.numbers == [5]


async def test_without_streams_polls_bring_the_events() -> None:
    asked: list[dict[str, str]] = []
    answers = [polled(4, 4), polled(4, 6, 5, 6), polled(6, 6), polled(6, 9, 9)]
    waits = asyncio.Event()

    async def poll(request: Request) -> Response:
        asked.append(dict(request.query_params))
        if not answers:
            waits.set()
            await for_ever()
        return answers.pop(0)

    async with fake_gateway() as fake:
        fake.poll = poll
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            await it.until(lambda: it.numbers == [5, 6, 9])
            assert it.client.transport == "poll"
            await asyncio.wait_for(waits.wait(), PATIENCE_SECONDS)
    assert [(each["cursor"], each["wait"]) for each in asked] == [
        (cursor(4), "0"),
        (cursor(4), "25"),
        (cursor(6), "25"),
        (cursor(6), "25"),
        (cursor(9), "25"),
    ]


@pytest.mark.parametrize(
    ("status", "code", "outcome"), [(401, "token_expired", 4300), (403, "forbidden", 4501)]
)
async def test_a_refused_poll_stops_the_client(status: int, code: str, outcome: int) -> None:
    async def poll(request: Request) -> Response:
        return problem(status, code)

    async with fake_gateway() as fake:
        fake.poll = poll
        async with application(fake.address, "jwt", pace=AT_ONCE) as it:
            error = await it.ended()
            assert isinstance(error, SessionEnded)
            assert error.close_code == outcome


async def test_a_cursor_that_a_poll_refuses_is_dropped() -> None:
    answers = [problem(410, "reset", reason="trimmed"), polled(9, 9), polled(9, 10, 10)]

    async def poll(request: Request) -> Response:
        if not answers:
            await for_ever()
        return answers.pop(0)

    async with fake_gateway() as fake:
        fake.poll = poll
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            it.takes_snapshots = False
            await it.until(lambda: it.numbers == [10])
            assert it.some(SnapshotNeeded) == [SnapshotNeeded("trimmed", cursor(9))]


async def test_an_overloaded_gateway_is_no_reason_to_change_the_transport() -> None:
    answers = [problem(503, "unavailable", retryAfterMs=1), polled(4, 5, 5)]

    async def poll(request: Request) -> Response:
        if not answers:
            await for_ever()
        return answers.pop(0)

    async with fake_gateway() as fake:
        fake.poll = poll
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            await it.until(lambda: it.numbers == [5])
            assert it.client.transport == "poll"


async def test_what_fell_back_returns_to_a_websocket_when_it_works_again() -> None:
    async def talk(agent: Agent) -> None:
        assert agent.hello["cursor"] == cursor(5)
        await agent.say(connected(5), events(5, 6, 6))
        await agent.stay()

    async with fake_gateway() as fake:
        _, fake.stream = streams([connected(4), events(4, 5, 5)], [])
        pace = replace(AT_ONCE, retry_websocket_seconds=0.05)
        async with application(fake.address, "jwt", cursor=cursor(4), pace=pace) as it:
            await it.until(lambda: it.numbers[:1] == [5])
            fake.talks = [talk]
            await it.until(lambda: it.numbers == [5, 6])
            assert it.client.transport == "websocket"


async def test_messages_are_sent_over_http_where_there_is_no_socket() -> None:
    posted: list[tuple[str, Frame]] = []
    answers = [problem(503, "unavailable", retryAfterMs=1), JSONResponse({"message": {"id": "9"}})]

    async def post(request: Request) -> Response:
        posted.append((request.url.path, await request.json()))
        return answers.pop(0)

    async with fake_gateway() as fake:
        _, fake.stream = streams([connected(4), events(4, 5, 5)])
        fake.post = post
        async with application(fake.address, "jwt", cursor=cursor(4), pace=AT_ONCE) as it:
            await it.until_some(Event)
            assert await it.client.send("7", {"type": "TEXT", "text": "hi"}) == {"id": "9"}
            assert not it.client.typing("7")
    assert posted[0] == posted[1]
    path, body = posted[0]
    assert path == "/api/conversations/7/messages"
    assert body.keys() == {"clientId", "message"}

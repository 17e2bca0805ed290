"""Server-Sent Events: a session whose client only listens."""

import asyncio

import httpx2
import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import delivery, said
from service.streams import Stream, asking, publish, stream, ticket, until, until_left

pytestmark = pytest.mark.usefixtures("clean_logs")


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [event["data"]["n"] for event in events]  # pyright: ignore[reportIndexIssue]


async def test_a_stream_says_what_a_session_says(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        connected = await listener.next()
        await gateway.post(delivery(said("hi", "w1")))
        events = await listener.events(2)

    assert connected["type"] == "connected"
    assert (connected["tenantId"], connected["userId"]) == ("t1", "u1")
    assert (connected["recovered"], connected["reason"]) == (False, "new")
    assert connected["topics"] == ["tenant:t1", "user:u1"]
    assert [event["type"] for event in events] == ["conversation:new", "message:new"]
    assert listener.position is not None
    assert listener.position.endswith(".2")


async def test_nothing_between_server_and_client_keeps_a_stream(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        await listener.next("connected")

    assert listener.headers["content-type"].startswith("text/event-stream")
    assert "no-store" in listener.headers["cache-control"]
    assert listener.headers["x-accel-buffering"] == "no"
    assert "x-correlation-id" in listener.headers
    assert len(listener.retries) == 1
    assert 1000 <= listener.retries[0] <= 5000


async def test_a_stream_goes_on_from_its_last_event(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        await listener.next("connected")
        await publish(gateway, 1, 2)
        await listener.events(2)
    position = listener.position
    assert position is not None
    await publish(gateway, 3, 4)

    # What the browser knows goes before what its URL said when it was new.
    old = position.rpartition(".")[0] + ".0"
    for query in ({}, {"cursor": old}):
        headers = {"Last-Event-ID": position}
        async with stream(gateway, headers=headers, **query) as listener:
            connected = await listener.next()
            events = await listener.events(2)
        assert (connected["recovered"], connected["cursor"]) == (True, position)
        assert numbers(events) == [3, 4]
    async with stream(gateway, headers={"Last-Event-ID": ""}, cursor=old) as listener:
        assert numbers(await listener.events(4)) == [1, 2, 3, 4]


async def test_a_stream_hears_its_topics_and_no_other(gateway: Gateway) -> None:
    async with stream(gateway, topics="user") as listener:
        assert (await listener.next())["topics"] == ["user:u1"]
        await publish(gateway, 1)
        await publish(gateway, 2, topics=["user:u2"])
        await publish(gateway, 3, topics=["user:u1", "tenant"])
        frame = await listener.next("events")

    assert numbers(frame["events"]) == [3]
    assert frame["to"].endswith(".3")


async def test_a_ping_carries_the_position_and_asks_for_no_answer(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, ping_interval_ms=100)
    async with running_gateway(settings) as gateway:
        async with stream(gateway, topics="user") as listener:
            connected = await listener.next()
            await publish(gateway, 1)
            # Of two unanswered pings a socket would die; and what others hear moves the position.
            pings = [await listener.next("ping") for _ in range(5)]
            while not pings[-1]["cursor"].endswith(".1"):
                pings.append(await listener.next("ping"))
            assert listener.position == pings[-1]["cursor"]
        await until_left(gateway)

    assert [ping["n"] for ping in pings] == list(range(1, len(pings) + 1))
    assert connected["heartbeat"]["intervalMs"] == 100


async def test_a_cursor_that_cannot_be_used_is_said_to_be_so(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        head = (await listener.next())["cursor"]
    epoch = head.rpartition(".")[0]
    for cursor, reason in ((f"{epoch}.99", "ahead"), (f"{'0' * 32}.0", "epoch")):
        async with stream(gateway, cursor=cursor) as listener:
            connected = await listener.next()
        assert (connected["recovered"], connected["reason"]) == (False, reason)
        assert connected["cursor"] == listener.position == head


async def test_a_stream_is_reset_rather_than_served_in_part(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with stream(gateway) as listener:
        before = (await listener.next())["cursor"]
        worker.execute("select chatsync.open_epochs()")
        reset = await listener.next("reset")
        assert listener.position == reset["cursor"]
        await publish(gateway, 1)
        frame = await listener.next("events")

    assert reset["reason"] == "epoch"
    assert reset["cursor"].rpartition(".")[0] != before.rpartition(".")[0]
    assert frame["from"] == reset["cursor"]


async def test_a_long_absence_is_replayed_in_pages(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'test', jsonb_build_object('n', n))"
        " from generate_series(1, 1000) n"
    )
    owner.execute("select chatsync.stamp(2000)")
    async with running_gateway(settings_for(database_url, ring_events=16)) as gateway:
        epoch = (await gateway.get("/api/events")).json()["to"].rpartition(".")[0]
        async with stream(gateway, cursor=f"{epoch}.0") as listener:
            frames = [await listener.next("events")]
            while frames[-1].get("more"):
                frames.append(await listener.next("events"))
                assert listener.position == frames[-1]["to"]

    assert [event["data"]["n"] for frame in frames for event in frame["events"]] == list(
        range(1, 1001)
    )
    assert [frame["from"] for frame in frames[1:]] == [frame["to"] for frame in frames[:-1]]


async def test_a_stream_ends_with_its_token(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    async with stream(gateway, token(ttl=2)) as listener:
        began_at = loop.time()
        await listener.next("connected")
        closing = await listener.closed()
        assert loop.time() - began_at < 7

    assert closing["code"] == 4300


async def test_a_ticket_lives_no_longer_than_its_token(gateway: Gateway) -> None:
    given = await ticket(gateway, token(ttl=2))
    async with stream(gateway, is_anonymous=True, ticket=given) as listener:
        assert (await listener.closed())["code"] == 4300


async def test_streams_count_as_sessions(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, sessions_per_user=2, max_sessions=3)
    async with running_gateway(settings) as gateway:
        async with stream(gateway) as one, gateway.session():
            await one.next("connected")
            async with asking(gateway) as refused:
                problem = await refused.body()
                assert (refused.status, problem["code"]) == (429, "rate_limited")
                assert int(refused.headers["retry-after"]) >= 1
            async with stream(gateway, token("u2")), asking(gateway, jwt=token("u3")) as full:
                assert (full.status, (await full.body())["code"]) == (503, "unavailable")
                assert int(full.headers["retry-after"]) >= 1
                during = await sessions(gateway)
        await until_left(gateway)
        after = await sessions(gateway)

    # Other gateways of this process may count as well.
    assert during["stream"] - after["stream"] == 2
    assert during["websocket"] - after["websocket"] == 1


async def sessions(gateway: Gateway) -> dict[str, float]:
    """How many sessions of each transport the metrics tell."""
    lines = (await gateway.http.get("/metrics")).text.splitlines()
    return {
        line.split('"')[1]: float(line.split()[-1])
        for line in lines
        if line.startswith("chatsync_sessions{")
    }


async def test_streams_are_drained_each_in_a_window_of_its_own(gateway: Gateway) -> None:
    async with stream(gateway) as one, stream(gateway) as two:
        listeners: list[Stream] = [one, two]
        for listener in listeners:
            await listener.next("connected")
        poll = asyncio.create_task(gateway.get("/api/events", cursor=one.position or "", wait=25))
        await until(lambda: len(gateway.hub._by_tenant["t1"]) == 3, "the poll")
        gateway.hub.drain()
        closings = [await listener.closed() for listener in listeners]
        assert (await asyncio.wait_for(poll, 5)).json()["events"] == []
        async with asking(gateway) as late:
            assert late.status == 503
    await until_left(gateway)

    assert {closing["code"] for closing in closings} == {4100}
    assert len({tuple(closing["retryMs"]) for closing in closings}) == 2
    for listener, closing in zip(listeners, closings, strict=True):
        assert closing["retryMs"][0] <= listener.retries[-1] <= closing["retryMs"][1]


async def test_a_stream_of_another_tenant_hears_nothing_of_this_one(
    gateway: Gateway, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    other = token(tenant="t2")
    async with stream(gateway, other) as listener:
        await listener.next("connected")
        await publish(gateway, 1)
        await publish(gateway, 2, tenant="t2")
        events = await listener.events(1)
        assert numbers(events) == [2]
        position = listener.position
    async with stream(gateway, cursor=position) as listener:
        assert (await listener.next())["reason"] == "epoch"


async def test_a_client_that_goes_leaves_nothing_behind(gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        await listener.next("connected")
    await until_left(gateway)
    async with stream(gateway) as listener:
        await listener.next("connected")
        # A reset, in place of a farewell.
        listener.writer.transport.abort()
        await until_left(gateway)


async def test_a_http_client_of_another_make_reads_it(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        httpx2.AsyncClient(base_url=gateway.address, headers=headers) as http,
        http.stream("GET", "/api/events/stream") as answer,
    ):
        lines = answer.aiter_lines()
        seen = [await anext(lines) for _ in range(5)]
    assert seen[0].startswith("retry: ")
    assert seen[2] == "event: connected"

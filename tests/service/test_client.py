"""The Python client on real gateways: whatever happens between, nothing lost, nothing twice."""

import asyncio

import pytest

from chatsync.client import (
    Connected,
    Disconnected,
    Pace,
    SessionEnded,
    SnapshotNeeded,
)
from chatsync.errors import Forbidden
from conftest import SyncConnection
from service.application import PACE, application
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token
from service.payloads import delivery, said
from service.relay import relay_to


def publish(worker: SyncConnection, count: int, topic: str = "tenant:t1") -> None:
    """Put events into the log, and ring."""
    worker.execute(
        "select chatsync.publish('t1', array[%s], 'test', jsonb_build_object('n', n))"
        " from generate_series(1, %s) n",
        [topic, count],
    )
    worker.execute("select chatsync.stamp(10000)")


async def test_a_client_hears_what_happens_after_its_snapshot(gateway: Gateway) -> None:
    await gateway.post(delivery(said("before", "w0")))
    async with gateway.session(cursor=None) as agent:
        await gateway.post(delivery(said("marker", "w1")))
        await agent.until_said("marker")
    async with application(gateway.address) as it:
        await it.until_some(SnapshotNeeded)
        await gateway.post(delivery(said("after", "w2")))
        await it.until(lambda: [e for e in it.events if e.type == "message:new"])
        (snapshot,) = it.snapshots
        assert [item.reason for item in it.some(SnapshotNeeded)] == ["new"]
        assert len(snapshot.conversations) == 1
        assert [m["content"] for m in snapshot.messages] == ["before", "marker"]
        (new,) = [e for e in it.events if e.type == "message:new"]
        assert new.data["message"]["content"] == "after"
        assert new.seq > int(snapshot.cursor.rpartition(".")[2])
        await it.until(lambda: it.client.cursor == it.events[-1].cursor or len(it.events) > 1)
        assert it.client.quality == "good"
        assert it.client.transport == "websocket"


async def test_a_connection_that_is_cut_is_made_again_and_nothing_is_missing(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with relay_to(gateway.address) as relay, application(relay.address) as it:
        await it.until_some(SnapshotNeeded)
        for round_ in range(1, 4):
            publish(worker, 50)
            await it.until(lambda: len(it.events) >= 50 * round_ - 25)  # noqa: B023
            relay.cut()
            publish(worker, 50)
            await it.until_some(Connected, round_ + 1)
            await it.until(lambda: len(it.events) >= 100 * round_)  # noqa: B023
        assert it.numbers == list(range(it.numbers[0], it.numbers[0] + 300))
        assert all(connected.recovered for connected in it.some(Connected)[1:])
        assert len(it.some(SnapshotNeeded)) == 1
        assert {gone.code for gone in it.some(Disconnected)} == {1006}


async def test_a_client_goes_on_at_another_gateway(
    gateway: Gateway, database_url: str, worker: SyncConnection
) -> None:
    settings = settings_for(database_url)
    async with relay_to(gateway.address) as relay, application(relay.address) as it:
        await it.until_some(SnapshotNeeded)
        publish(worker, 3)
        async with running_gateway(settings, with_worker=False) as other:
            relay.target = other.address
            relay.cut()
            publish(worker, 3)
            await it.until(lambda: len(it.events) >= 6)
        relay.target = gateway.address
        publish(worker, 3)
        await it.until(lambda: len(it.events) >= 9)
        # The wire only broke; the second gateway said that it ends.
        assert [gone.code for gone in it.some(Disconnected)] == [1006, 1012]
        assert it.numbers == list(range(it.numbers[0], it.numbers[0] + 9))
        assert len(it.some(SnapshotNeeded)) == 1


async def test_a_client_waits_for_a_gateway_that_is_away(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    settings = settings_for(database_url)
    async with relay_to("http://127.0.0.1:1") as relay, application(relay.address) as it:
        async with running_gateway(settings) as first:
            relay.target = first.address
            await it.until_some(SnapshotNeeded)
        publish(worker, 5)
        async with running_gateway(settings) as second:
            relay.target = second.address
            await it.until(lambda: len(it.events) >= 5)
        assert it.numbers == list(range(it.numbers[0], it.numbers[0] + 5))


async def test_a_slow_application_stops_the_reading_and_loses_nothing(
    gateway: Gateway, worker: SyncConnection
) -> None:
    pace = Pace(uniform=PACE.uniform, waiting_entries=10)
    async with application(gateway.address, pace=pace) as it:
        await it.until_some(SnapshotNeeded)
        publish(worker, 3000)
        await it.until(lambda: len(it.events) >= 3000)
        assert it.numbers == list(range(it.numbers[0], it.numbers[0] + 3000))
        assert it.some(Disconnected) == []


async def test_a_token_that_expires_is_refreshed_on_the_open_session(
    gateway: Gateway, worker: SyncConnection
) -> None:
    issued = [token(ttl=600), token(ttl=2)]
    refreshed = asyncio.Event()

    async def source() -> str:
        return issued.pop()

    def watch(frame: dict[str, object]) -> None:
        if frame["type"] == "reply":
            refreshed.set()

    async with application(gateway.address, source, on_frame=watch) as it:
        async with asyncio.timeout(10):
            await refreshed.wait()
        assert issued == []
        publish(worker, 1)
        await it.until(lambda: it.events)
        assert it.some(Disconnected) == []


async def test_a_token_that_could_not_be_refreshed_is_asked_for_again(
    gateway: Gateway, worker: SyncConnection
) -> None:
    asked: list[int] = []

    async def source() -> str:
        asked.append(len(asked))
        if len(asked) == 2:
            raise OSError("the issuer is away")
        # Tokens have whole seconds: one of a single second may be over by now.
        return token(ttl=2 if len(asked) == 1 else 600)

    async with application(gateway.address, source) as it:
        await it.until_some(Connected, 2)
        publish(worker, 1)
        await it.until(lambda: it.events)
        assert [gone.code for gone in it.some(Disconnected)] == [4300]
        assert len(asked) == 3
        assert [needed.reason for needed in it.some(SnapshotNeeded)] == ["new"]


@pytest.mark.parametrize(("jwt", "code"), [("nonsense", 4501), (token(ttl=-60), 4300)])
async def test_a_client_that_is_not_wanted_stops_and_says_so(
    gateway: Gateway, jwt: str, code: int
) -> None:
    async with application(gateway.address, jwt) as it:
        error = await it.ended()
        assert isinstance(error, SessionEnded)
        assert error.close_code == code
        with pytest.raises(SessionEnded):
            await it.client.request("ping")


async def test_a_reset_is_told_and_the_stream_goes_on_after_the_snapshot(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with application(gateway.address) as it:
        await it.until_some(SnapshotNeeded)
        publish(worker, 2)
        await it.until(lambda: len(it.events) >= 2)
        worker.execute("select chatsync.open_epochs()")
        await it.until_some(SnapshotNeeded, 2)
        publish(worker, 2)
        await it.until(lambda: len(it.events) >= 4)
        assert [item.reason for item in it.some(SnapshotNeeded)] == ["new", "epoch"]
        assert it.snapshots[1].cursor.partition(".")[0] == it.events[-1].cursor.partition(".")[0]
        assert it.some(Disconnected) == []
        await it.until(lambda: it.client.cursor is not None)


async def test_an_unusable_cursor_is_told_with_its_reason(gateway: Gateway) -> None:
    async with application(gateway.address, cursor="0" * 32 + ".7") as it:
        (needed,) = await it.until_some(SnapshotNeeded)
        assert needed.reason == "epoch"
        (connected,) = it.some(Connected)
        assert not connected.recovered
        assert connected.cursor == needed.cursor


async def test_topics_can_be_added_and_are_kept_over_a_reconnect(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hello", "w1")))
        await agent.events_until("hello")
    async with relay_to(gateway.address) as relay, application(relay.address) as it:
        await it.until_some(SnapshotNeeded)
        topic = f"conversation:{it.snapshots[0].conversations[0]['id']}"
        added = await it.client.subscribe(topic)
        assert added.topics == (topic,)
        publish(worker, 1, topic)
        await it.until(lambda: len(it.events) >= 1)
        relay.cut()
        publish(worker, 1, topic)
        await it.until(lambda: len(it.events) >= 2)
        await it.client.unsubscribe(topic)
        publish(worker, 1, topic)
        publish(worker, 1)
        await it.until(lambda: len(it.events) >= 3)
        assert {name for event in it.events[:2] for name in event.topics} == {topic}
        assert it.events[2].topics == ("tenant:t1",)
        with pytest.raises(Forbidden):
            await it.client.subscribe("user:somebody-else")


async def test_without_websockets_and_streams_a_client_polls_with_the_same_cursor(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with relay_to(gateway.address) as relay, application(relay.address) as it:
        await it.until_some(SnapshotNeeded)
        publish(worker, 3)
        await it.until(lambda: len(it.events) >= 3)
        relay.forbidden = (b"GET /ws", b"GET /api/events/stream")
        relay.cut()
        publish(worker, 3)
        await it.until(lambda: len(it.events) >= 6)
        publish(worker, 3)
        await it.until(lambda: len(it.events) >= 9)
        assert it.client.transport == "poll"
        assert it.numbers == list(range(it.numbers[0], it.numbers[0] + 9))
        assert [each.transport for each in it.some(Connected)] == ["websocket", "poll"]
        worker.execute("select chatsync.open_epochs()")
        await it.until_some(SnapshotNeeded, 2)
        publish(worker, 1)
        await it.until(lambda: len(it.events) >= 10)


async def test_two_tenants_hear_their_own(gateway: Gateway, database_url: str) -> None:
    create_inbox(database_url, "t2", "200")
    async with (
        application(gateway.address) as mine,
        application(gateway.address, token(tenant="t2")) as theirs,
    ):
        await mine.until_some(SnapshotNeeded)
        await theirs.until_some(SnapshotNeeded)
        await gateway.post(delivery(said("for t2", "w1"), number="200"))
        await theirs.until(lambda: theirs.events)
        assert mine.events == []

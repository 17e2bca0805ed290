"""The Python client on a real gateway behind a proxy that lets less and less through."""

from dataclasses import replace

import pytest

from chatsync.client import Connected, Disconnected, Ephemeral, SnapshotNeeded
from conftest import SyncConnection
from service.application import PACE, application
from service.harness import Gateway, token
from service.relay import relay_to
from service.streams import stream
from service.test_client import publish

pytestmark = pytest.mark.usefixtures("clean_logs")

SOCKETS = b"GET /ws"
STREAMS = b"GET /api/events/stream"


async def test_where_no_upgrade_gets_through_a_stream_brings_everything_once(
    gateway: Gateway, worker: SyncConnection
) -> None:
    async with (
        relay_to(gateway.address, "/ws") as relay,
        application(relay.address) as it,
    ):
        await it.until_some(SnapshotNeeded)
        assert it.client.transport == "sse"
        for round_ in range(1, 4):
            publish(worker, 50)
            await it.until(lambda: len(it.events) >= 50 * round_ - 25)  # noqa: B023
            relay.cut()
            # What happens while nobody listens comes with the next stream.
            publish(worker, 1)
            await it.until_some(Connected, round_ + 1)
        await it.until(lambda: len(it.events) >= 153)
        assert it.numbers == list(range(1, 154))
        assert len(it.some(Disconnected)) == 3
        assert {each.transport for each in it.some(Connected)} == {"sse"}
        assert all(each.recovered for each in it.some(Connected)[1:])
        # Any other client goes on from there, by the header that browsers send.
        last = it.events[-1].cursor
        publish(worker, 1)
        async with stream(gateway, headers={"Last-Event-ID": last}) as listener:
            assert (await listener.next("connected"))["recovered"]
            (event,) = (await listener.next("events"))["events"]
            assert event["seq"] == 154


async def test_from_a_socket_to_streams_to_polls_and_back_with_one_cursor(
    gateway: Gateway, worker: SyncConnection
) -> None:
    pace = replace(PACE, retry_websocket_seconds=0.5)
    async with (
        relay_to(gateway.address) as relay,
        application(relay.address, pace=pace) as it,
    ):
        await it.until_some(SnapshotNeeded)
        for forbidden, transport in (
            ((), "websocket"),
            ((SOCKETS,), "sse"),
            ((SOCKETS, STREAMS), "poll"),
            ((), "websocket"),
        ):
            relay.forbidden = forbidden
            if it.client.transport != transport and transport != "websocket":
                relay.cut()
            publish(worker, 3)
            await it.until(
                lambda: it.events and it.some(Connected)[-1].transport == transport  # noqa: B023
            )
            told = len(it.events)
            publish(worker, 3)
            await it.until(lambda: len(it.events) >= told + 3)  # noqa: B023
        assert it.numbers == list(range(1, 25))
        assert len(it.some(SnapshotNeeded)) == 1


async def test_a_stream_brings_presence_to_the_client(gateway: Gateway) -> None:
    async with (
        relay_to(gateway.address, "/ws") as relay,
        application(relay.address, topics=["presence"]) as it,
    ):
        await it.until(lambda: [e for e in it.some(Ephemeral) if e.event == "presence:state"])
        async with gateway.session(token("bo")):
            await it.until(
                lambda: [
                    each
                    for each in it.some(Ephemeral)
                    if each.event == "presence:update" and each.data["userId"] == "bo"
                ]
            )
        assert it.client.transport == "sse"

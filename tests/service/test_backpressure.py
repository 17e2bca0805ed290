"""A client that does not read: it costs nobody else anything, and misses nothing."""

import asyncio
import json

import pytest

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for
from service.raw_socket import TEXT, frame
from service.slow_socket import next_frame, slow_socket
from service.streams import until

pytestmark = pytest.mark.usefixtures("clean_logs")

EVENTS = 6_000
PUBLISH = """
select chatsync.publish(
  't1', array['tenant:t1'], 'test', jsonb_build_object('n', n, 'text', %s::text)
)
from generate_series(%s::integer, %s::integer) n
"""


async def test_a_client_that_stalls_catches_up_and_delays_nobody(
    gateway: Gateway, worker: SyncConnection
) -> None:
    slow = await slow_socket(gateway)
    async with gateway.session() as fast:
        for first in range(1, EVENTS, 500):
            worker.execute(PUBLISH, ["x" * 1000, first, first + 499])
            # Who reads has everything while the other one's socket is full.
            numbers = [event["data"]["n"] for event in await fast.events(500)]
            assert numbers == list(range(first, first + 500))

        seen: list[int] = []
        before = None
        while len(seen) < EVENTS:
            events = await next_frame(slow)
            if events["type"] == "ping":
                pong = {"type": "pong", "n": events["n"]}
                await slow.send(frame(TEXT, json.dumps(pong).encode()))
                continue
            assert before in (None, events["from"])
            before = events["to"]
            seen += [event["data"]["n"] for event in events["events"]]
        assert seen == list(range(1, EVENTS + 1))

        # And it is live again.
        worker.execute(PUBLISH, ["live", EVENTS + 1, EVENTS + 1])
        assert (await next_frame(slow))["events"][0]["data"]["text"] == "live"
    slow.writer.transport.abort()


async def test_a_client_that_stalls_is_closed_when_it_does_not_answer(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    settings = settings_for(database_url, ping_interval_ms=200)
    async with running_gateway(settings) as gateway:
        slow = await slow_socket(gateway)
        worker.execute(PUBLISH, ["x" * 1000, 1, 5_000])
        async with asyncio.timeout(30):
            while len(gateway.hub):  # noqa: ASYNC110 - a hub says it by nothing else
                await asyncio.sleep(0.05)
        slow.writer.transport.abort()


async def test_nothing_is_sent_again_while_what_was_sent_has_not_left(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    assert inbox_id
    settings = settings_for(database_url, ack_timeout_ms=200)
    async with running_gateway(settings) as gateway:
        slow = await slow_socket(gateway)
        worker.execute(PUBLISH, ["used", 1, 1])
        first = (await next_frame(slow))["to"]
        await slow.send(frame(TEXT, json.dumps({"type": "ack", "cursor": first}).encode()))
        worker.execute(PUBLISH, ["asked", 2, 2])
        await next_frame(slow)
        ping = await next_frame(slow)
        assert ping["type"] == "ping"
        worker.execute(PUBLISH, ["x" * 1000, 3, 5_000])
        (member,) = gateway.hub.members()
        await until(lambda: member.is_stalled, "stalling")
        # True, and no reason to send it again: it is before everything that waits.
        pong = {"type": "pong", "n": ping["n"], "cursor": first}
        await slow.send(frame(TEXT, json.dumps(pong).encode()))
        seen, last = 2, first
        while seen < 5_000:
            events = await next_frame(slow)
            if events["type"] == "ping":
                pong = {"type": "pong", "n": events["n"], "cursor": last}
                await slow.send(frame(TEXT, json.dumps(pong).encode()))
                continue
            assert "redelivered" not in events
            assert events["events"][0]["data"]["n"] == seen + 1
            seen, last = events["events"][-1]["data"]["n"], events["to"]
        slow.writer.transport.abort()

"""Sessions that must begin anew and do not read: sent away, told why if they read after all."""

import asyncio
import json
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Gateway, running_gateway, settings_for
from service.raw_socket import CLOSE, TEXT, RawSocket
from service.slow_socket import next_frame, slow_socket
from service.streams import stream, until, until_left
from service.test_backpressure import PUBLISH

pytestmark = pytest.mark.usefixtures("clean_logs")

EVENTS = 4_000
# What an operator's retention does, without waiting for days.
TRIM = (
    "update chatsync.streams s set trimmed_to = h.head"
    " from chatsync.stream_heads h where h.tenant_id = s.tenant_id and s.tenant_id = 't1'"
)


def settings(database_url: str, **more: Any) -> Any:
    return settings_for(database_url, ping_timeout_ms=500, ring_events=16, **more)


async def stall(gateway: Gateway, worker: SyncConnection) -> RawSocket:
    """A session with more to read than buffers hold."""
    slow = await slow_socket(gateway)
    worker.execute(PUBLISH, ["x" * 1000, 1, EVENTS])
    worker.execute("select chatsync.stamp(10000)")
    (member,) = gateway.hub.members()
    await until(lambda: member.is_stalled, "stalling")
    feed = gateway.feed.find("t1")
    assert feed is not None
    await until(lambda: feed.head == EVENTS, "hearing of all events")
    return slow


async def told(slow: RawSocket) -> tuple[dict[str, Any], int]:
    """The `closing` frame behind what was on its way, and the close code."""
    while True:
        received = await slow.next()
        assert received is not None
        if received.opcode == CLOSE:
            raise AssertionError("closed without a word")
        if received.opcode == TEXT and b'"type":"closing"' in received.payload:
            break
    closing = json.loads(received.payload)
    end = await slow.next()
    assert end is not None
    return closing, end.code


@pytest.mark.parametrize(("change", "code"), [("epoch", 4400), ("trimmed", 4401)])
async def test_a_session_to_which_reset_cannot_be_written_is_closed(
    database_url: str,
    inbox_id: int,
    worker: SyncConnection,
    owner: SyncConnection,
    change: str,
    code: int,
) -> None:
    assert inbox_id
    async with running_gateway(settings(database_url), with_worker=False) as gateway:
        slow = await stall(gateway, worker)
        if change == "epoch":
            worker.execute("select chatsync.open_epochs()")
        else:
            owner.execute(TRIM)
        (member,) = gateway.hub.members()
        await until(lambda: member.session.state.name == "CLOSED", "sending it away")
        closing, closed_with = await told(slow)
        assert closing["code"] == closed_with == code
        assert closing["retryMs"][0] <= closing["retryMs"][1]
        slow.writer.close()
        await until_left(gateway)


async def test_a_session_that_reads_again_in_time_is_reset(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    assert inbox_id
    patient = settings_for(database_url, ping_timeout_ms=60_000, ring_events=16)
    async with running_gateway(patient, with_worker=False) as gateway:
        slow = await stall(gateway, worker)
        before = gateway.feed.find("t1")
        assert before is not None
        epoch = before.epoch
        worker.execute("select chatsync.open_epochs()")
        await until(lambda: before.epoch != epoch, "the new epoch")
        async with asyncio.timeout(15):
            while (frame := await next_frame(slow))["type"] != "reset":
                assert frame["type"] in ("events", "ping")
        assert frame["reason"] == "epoch"
        slow.writer.transport.abort()


async def test_a_session_that_stalls_and_has_all_of_it_kept_is_left_alone(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    assert inbox_id
    async with running_gateway(settings(database_url), with_worker=False) as gateway:
        slow = await stall(gateway, worker)
        async with gateway.session() as other:
            # Longer than a stranded one is waited for.
            for number in range(8):
                await other.send(type="ping", n=number)
                await other.next("pong")
                await asyncio.sleep(0.2)
        seen = 0
        while seen < EVENTS:
            frame = await next_frame(slow)
            if frame["type"] == "events":
                seen = frame["events"][-1]["data"]["n"]
        slow.writer.transport.abort()


async def test_a_stream_that_does_not_read_is_cut_as_well(
    database_url: str, inbox_id: int, worker: SyncConnection
) -> None:
    assert inbox_id
    async with (
        running_gateway(settings(database_url), with_worker=False) as gateway,
        stream(gateway, receive_buffer=4096) as listener,
    ):
        await listener.next("connected")
        worker.execute(PUBLISH, ["x" * 1000, 1, 20_000])
        (member,) = gateway.hub.members()
        await until(lambda: member.is_stalled and member.session.reading.position > 0, "stalling")
        worker.execute("select chatsync.open_epochs()")
        await until_left(gateway)

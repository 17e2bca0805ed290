"""Whoever sleeps or dies resumes from a cursor: nothing lost, twice or out of order."""

import json
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import connect

from chatsync.providers.whatsapp_cloud import sign
from conftest import SyncConnection
from service.harness import (
    APP_SECRET,
    Client,
    Gateway,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
    wait_for,
)
from service.payloads import delivery, said


async def test_a_resumed_session_gets_what_it_missed_in_order(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        await gateway.post(delivery(said("seen", "w0")))
        frame = await agent.next("events")
        while not frame["to"].endswith(".2"):
            frame = await agent.next("events")
    for number in range(1, 5):
        await gateway.post(delivery(said(f"missed {number}", f"w{number}")))
    async with gateway.session() as watcher:
        await gateway.post(delivery(said("marker", "w9")))
        await watcher.until_said("marker")

    async with gateway.session(cursor=frame["to"]) as agent:
        connected = agent.seen[0]
        frames = [await agent.next("events")]
        while frames[-1].get("more"):
            frames.append(await agent.next("events"))

    assert connected["recovered"] is True
    assert connected["cursor"] == frame["to"] == frames[0]["from"]
    assert all(replayed["replay"] for replayed in frames)
    events = [event for replayed in frames for event in replayed["events"]]
    assert [event["seq"] for event in events] == list(range(3, 3 + len(events)))
    contents = [e["data"]["message"]["content"] for e in events if e["type"] == "message:new"]
    assert contents == ["missed 1", "missed 2", "missed 3", "missed 4", "marker"]


async def test_an_unusable_cursor_starts_at_the_head_and_says_why(gateway: Gateway) -> None:
    async with gateway.session() as agent:
        cursor = agent.seen[0]["cursor"]
    epoch = cursor.rpartition(".")[0]
    for unusable, reason in ((f"{epoch}.77", "ahead"), ("0" * 32 + ".0", "epoch")):
        async with gateway.session(cursor=unusable) as agent:
            connected = agent.seen[0]
        assert (connected["recovered"], connected["reason"]) == (False, reason)
        assert connected["cursor"] == cursor


async def test_a_long_absence_is_replayed_from_the_log_in_pages(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'test', jsonb_build_object('n', n))"
        " from generate_series(1, 1000) n"
    )
    owner.execute("select chatsync.stamp(2000)")
    settings = settings_for(database_url, ring_events=16)
    async with running_gateway(settings) as gateway:
        epoch = (await gateway.get("/api/events")).json()["to"].rpartition(".")[0]
        async with gateway.session(cursor=f"{epoch}.0") as agent:
            frames: list[dict[str, Any]] = [await agent.next("events")]
            while frames[-1].get("more"):
                frames.append(await agent.next("events"))

    assert [e["data"]["n"] for f in frames for e in f["events"]] == list(range(1, 1001))
    assert all(frame["replay"] for frame in frames)
    assert [f["from"] for f in frames[1:]] == [f["to"] for f in frames[:-1]]


async def test_a_cursor_that_retention_overtook_is_refused(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session() as agent:
        old = agent.seen[0]["cursor"]
        await gateway.post(delivery(said("hi", "w1")))
        await agent.events(2)
    owner.execute(
        "update chatsync.streams s set trimmed_to = h.head"
        " from chatsync.stream_heads h where h.tenant_id = s.tenant_id"
    )

    async def reason() -> str | None:
        async with gateway.session(cursor=old) as agent:
            return agent.seen[0].get("reason")

    # The gateway learns of it by its poll.
    reasons = [await reason()]
    while reasons[-1] != "trimmed" and len(reasons) < 200:
        reasons.append(await reason())
    assert reasons[-1] == "trimmed"


async def test_a_new_epoch_resets_open_sessions(gateway: Gateway, worker: SyncConnection) -> None:
    async with gateway.session() as agent:
        before = agent.seen[0]["cursor"]
        worker.execute("select chatsync.open_epochs()")
        reset = await agent.next("reset")
        await gateway.post(delivery(said("hi", "w1")))
        frame = await agent.next("events")

    assert reset["reason"] == "epoch"
    assert reset["cursor"].rpartition(".")[0] != before.rpartition(".")[0]
    assert frame["from"] == reset["cursor"]


async def test_a_killed_gateway_is_resumed_on_another_with_what_was_missed(
    database_url: str, inbox_id: int, owner: SyncConnection, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    port, other = free_port(), free_port()
    with (
        process("work", database_url=database_url, log=log),
        process("serve", "--port", str(port), database_url=database_url, log=log) as first,
        process("serve", "--port", str(other), database_url=database_url, log=log),
    ):
        _until_ready(port)
        _until_ready(other)
        async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
            agent = Client(socket)
            await agent.send(type="connect", token=token())
            await agent.next("connected")
            _post(port, "before", "w0")
            cursor = ""
            while not cursor.endswith(".2"):
                cursor = (await agent.next("events"))["to"]
            first.kill()
        for number in range(20):
            _post(other, f"missed {number}", f"w{number + 1}")

        seen: list[dict[str, Any]] = []
        async with connect(f"ws://127.0.0.1:{other}/ws") as socket:
            agent = Client(socket)
            await agent.send(type="connect", token=token(), cursor=cursor)
            assert (await agent.next("connected"))["recovered"] is True
            while sum(event["type"] == "message:new" for event in seen) < 20:
                seen += (await agent.next("events"))["events"]

    assert [event["seq"] for event in seen] == list(range(3, 3 + len(seen)))
    contents = [e["data"]["message"]["content"] for e in seen if e["type"] == "message:new"]
    assert contents == [f"missed {number}" for number in range(20)]
    assert "Traceback" not in log.read_text()


async def test_a_gateway_that_is_told_to_stop_drains_and_ends_well(
    database_url: str, inbox_id: int, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "log"
    with process("serve", "--port", str(port), database_url=database_url, log=log) as serving:
        _until_ready(port)
        async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
            agent = Client(socket)
            await agent.send(type="connect", token=token())
            await agent.next("connected")
            serving.kill(15)
            code, closing = await agent.closed()
        assert serving.wait() == 0

    assert code == closing["code"] == 4100
    assert "Traceback" not in log.read_text()


def _until_ready(port: int) -> None:
    def is_ready() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    wait_for(is_ready, "readiness")


def _post(port: int, text: str, wamid: str) -> None:
    body = json.dumps(delivery(said(text, wamid))).encode()
    headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
    url = f"http://127.0.0.1:{port}/webhooks/whatsapp"
    assert httpx2.post(url, content=body, headers=headers).status_code == 200

"""Bad frames over a real socket: the declared error or close code, and no traceback in a log."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from service.harness import Gateway, create_inbox, free_port, process, token, wait_for
from service.payloads import delivery, said

pytestmark = pytest.mark.usefixtures("clean_logs")

NO_FRAMES: dict[str, str | bytes] = {
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "a number": "1",
    "a text": '"ping"',
    "no type": "{}",
    "a number as type": '{"type": 1}',
    "a list as type": '{"type": ["ping"]}',
    "not a number": '{"type": "ping", "n": NaN}',
    "too large a number": '{"type": "ping", "n": 1e999}',
    "too long a number": '{"type": "ping", "n": %s}' % ("9" * 5000),
    "nested": '{"type": "ping", "n": %s}' % ("[" * 10_000 + "]" * 10_000),
    "cut": '{"type": "ping"',
    "something behind": '{"type": "ping"} {}',
    "NUL": '{"type": "ping", "n": "\0"}',
    "binary": b'{"type": "ping"}',
    "no bytes": b"",
}
# Frames that are answered with an error and leave the session as it is.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "dance"}, "bad_request"),
    ({"type": ""}, "bad_request"),
    ({"type": "connect", "token": "x"}, "bad_request"),
    ({"type": "events"}, "bad_request"),
    ({"type": "ping\0"}, "bad_request"),
    ({"type": "ping", "id": []}, "invalid"),
    ({"type": "ping", "id": True}, "invalid"),
    ({"type": "subscribe"}, "invalid"),
    ({"type": "subscribe", "topics": "tenant"}, "invalid"),
    ({"type": "subscribe", "topics": [1]}, "invalid"),
    ({"type": "subscribe", "topics": [None]}, "invalid"),
    ({"type": "subscribe", "topics": {"tenant": 1}}, "invalid"),
    ({"type": "subscribe", "topics": ["x" * 201]}, "invalid"),
    ({"type": "subscribe", "topics": ["a\0"]}, "invalid"),
    ({"type": "subscribe", "topics": ["\ud800"]}, "invalid"),
    ({"type": "subscribe", "topics": [f"t:{n}" for n in range(201)]}, "invalid"),
    ({"type": "subscribe", "topics": ["tenant:t2"]}, "forbidden"),
    ({"type": "subscribe", "topics": ["tenant", "user:u2"]}, "forbidden"),
    ({"type": "subscribe", "topics": ["conversation:1"]}, "forbidden"),
    ({"type": "subscribe", "topics": ["conversation:%s" % ("9" * 30)]}, "forbidden"),
    ({"type": "subscribe", "topics": ["conversation:1 or 1=1"]}, "forbidden"),
    ({"type": "unsubscribe", "topics": 1}, "invalid"),
    ({"type": "ack"}, "bad_cursor"),
    ({"type": "ack", "cursor": 1}, "bad_cursor"),
    ({"type": "ack", "cursor": "x"}, "bad_cursor"),
    ({"type": "pong", "cursor": "a.-1"}, "bad_cursor"),
    ({"type": "pong", "cursor": ["a.1"]}, "bad_cursor"),
    ({"type": "sync"}, "bad_cursor"),
    ({"type": "sync", "cursor": None}, "bad_cursor"),
    ({"type": "sync", "cursor": f"{'a' * 32}.{'9' * 19}"}, "bad_cursor"),
    ({"type": "refresh"}, "invalid"),
    ({"type": "refresh", "token": 1}, "invalid"),
]


@pytest.mark.parametrize("is_open", [False, True], ids=["first", "later"])
async def test_what_is_no_frame_closes_the_session_as_a_bad_one(
    gateway: Gateway, is_open: bool
) -> None:
    got: dict[str, int] = {}
    for name, frame in NO_FRAMES.items():
        async with gateway.raw() as client:
            if is_open:
                await client.send(type="connect", token=token())
                await client.next("connected")
            await client.socket.send(frame)
            got[name] = (await client.closed())[0]
    assert {name: code for name, code in got.items() if code != 4500} == {}


async def test_a_refused_frame_leaves_the_session_open(gateway: Gateway) -> None:
    got: list[tuple[object, str]] = []
    for number, (frame, code) in enumerate(REFUSED):
        # A session each: what one frame breaks must not hide behind the next.
        async with gateway.session() as client:
            await client.send(**{"id": number} | frame)
            error = await client.next("error")
            await client.send(type="ping", n="still here")
            assert (await client.next("pong"))["n"] == "still here"
            if error["code"] != code:
                got.append((frame, error["code"]))
    assert got == []


async def test_a_text_frame_that_is_no_utf_8_is_refused_by_the_protocol_below(
    database_url: str, tmp_path: Path
) -> None:
    # A process, since its log is set up as in production: uvicorn has a traceback for this.
    port, log = free_port(), tmp_path / "log"
    environment = {"CHATSYNC_PORT": str(port)}
    with process("serve", database_url=database_url, log=log, **environment):
        await asyncio.to_thread(wait_for, lambda: _listens(port), "the start of the gateway")
        async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
            await socket.send(b'{"type": "\xff\xfe"}', text=True)
            await socket.wait_closed()
    assert socket.close_code == 1007
    assert "Traceback" not in log.read_text()


def _listens(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx2.HTTPError:
        return False


async def test_a_cursor_of_another_tenant_or_of_the_future_starts_at_the_head(
    gateway: Gateway, database_url: str
) -> None:
    create_inbox(database_url, tenant="t2", number="200")
    async with gateway.session() as agent, gateway.session(token(tenant="t2")) as other:
        foreign = other.seen[0]["cursor"]
        await gateway.post(delivery(said("hi", "w1")))
        await agent.events(2)
        epoch = agent.seen[0]["cursor"].rpartition(".")[0]
    for cursor, reason in ((foreign, "epoch"), (f"{epoch}.{'9' * 18}", "ahead")):
        async with gateway.session(cursor=cursor) as client:
            connected = client.seen[0]
        assert (connected["recovered"], connected["reason"]) == (False, reason)
        assert connected["cursor"] == f"{epoch}.2"


@pytest.mark.parametrize("cursor", ["x", "", 1, [], "a.-1", f"a.{'9' * 19}", "a.1\0", "\ud800.1"])
async def test_a_malformed_cursor_of_a_first_frame_closes_as_a_bad_frame(
    gateway: Gateway, cursor: object
) -> None:
    async with gateway.raw() as client:
        await client.socket.send(json.dumps({"type": "connect", "token": "t", "cursor": cursor}))
        error = await client.next("error")
        assert error["code"] == "bad_cursor"
        assert (await client.closed())[0] == 4500

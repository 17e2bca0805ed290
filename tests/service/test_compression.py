"""Events come compressed to those who ask for it, and each frame is compressed once for all."""

import contextlib
import json
import zlib
from typing import Any

import pytest

from conftest import SyncConnection
from service.harness import Gateway, token
from service.raw_socket import TEXT, RawSocket, frame, open_socket

pytestmark = pytest.mark.usefixtures("clean_logs")

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


async def test_events_come_compressed_to_those_who_ask_and_are_compressed_once(
    gateway: Gateway, worker: SyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    compressobj = zlib.compressobj

    def counted(*arguments: Any, **named: Any) -> Any:
        made.append(1)
        return compressobj(*arguments, **named)

    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(open_socket(gateway.ws, DEFLATE)) for _ in "abc"]
        plain = await stack.enter_async_context(open_socket(gateway.ws))
        assert b"permessage-deflate" in sockets[0].headers
        for socket in (*sockets, plain):
            await socket.send(
                frame(TEXT, json.dumps({"type": "connect", "token": token()}).encode())
            )
            assert b'"connected"' in await payload(socket)
        with monkeypatch.context() as patched:
            patched.setattr(zlib, "compressobj", counted)
            text = "said again and again, " * 100
            worker.execute(
                "select chatsync.publish('t1', array['tenant:t1'], 'test',"
                " jsonb_build_object('text', %s::text))",
                [text],
            )
            frames = [await socket.next() for socket in sockets]
        whole = await plain.next()
        assert whole is not None
        assert json.loads(whole.payload)["events"][0]["data"] == {"text": text}
        for each in frames:
            assert each is not None
            # RSV1 marks what is compressed (RFC 7692 §6).
            assert each.rsv == 4
            assert len(each.payload) < len(whole.payload) // 5
            assert inflated(each.payload) == whole.payload
        assert len(made) == 1


async def test_a_library_that_decompresses_understands_replay_and_live(
    gateway: Gateway, worker: SyncConnection
) -> None:
    publish = (
        "select chatsync.publish('t1', array['tenant:t1'], 'test',"
        " jsonb_build_object('n', n, 'text', repeat('x', 500)))"
        " from generate_series(%s::int, %s::int) n"
    )
    async with gateway.session() as agent:
        cursor = agent.seen[0]["cursor"]
        worker.execute(publish, [1, 150])
        await agent.events(150)
    async with gateway.raw(compression="deflate") as client:
        await client.send(type="connect", token=token(), cursor=cursor)
        assert (await client.next("connected"))["recovered"]
        assert "permessage-deflate" in str(client.socket.response.headers)  # pyright: ignore
        worker.execute(publish, [151, 160])
        events = await client.events(160)
    assert [event["data"]["n"] for event in events] == list(range(1, 161))


async def payload(socket: RawSocket) -> bytes:
    received = await socket.next()
    assert received is not None
    return inflated(received.payload) if received.rsv else received.payload


def inflated(data: bytes) -> bytes:
    """A message on its own: nothing of an earlier one is needed to read it."""
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")

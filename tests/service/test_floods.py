"""What a hostile or broken client can cost: floods, bombs, slow heads, sockets nobody reads."""

import asyncio
import json
import zlib
from urllib.parse import urlsplit

import pytest

from chatsync.gateway import http_head, wire
from service.echo_server import FLOOD, FRAME_BYTES, echo_server
from service.harness import Gateway, running_gateway, settings_for, token
from service.raw_socket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    RawSocket,
    close,
    frame,
    open_socket,
)

pytestmark = pytest.mark.usefixtures("clean_logs")

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

FLOODS = {
    "pings": frame(PING, b"x"),
    "pongs": frame(PONG, b"x"),
    "empty fragments": frame(CONT, b"", fin=False),
    "fragments of a byte": frame(CONT, b"x", fin=False),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_small_frames_is_ended_before_it_costs_much(name: str) -> None:
    async with echo_server(frames_per_second=20) as address, open_socket(address) as socket:
        if "fragment" in name:
            await socket.send(frame(TEXT, b"", fin=False))
        await socket.send(FLOODS[name] * 10_000)
        *answers, last = await socket.rest()

    assert (last.opcode, last.code) == (CLOSE, 4201)
    assert answers[-1].payload == FLOOD
    # Twice the frames of a second, and one piece of what came at once.
    assert len(answers) < 60


async def test_a_flood_of_pings_ends_a_session_with_4201(gateway: Gateway) -> None:
    async with open_socket(gateway.ws) as socket:
        await socket.send(frame(PING, b"x") * 500)
        *answers, error, closing, last = await socket.rest()

    assert {answer.opcode for answer in answers} == {PONG}
    assert json.loads(error.payload)["code"] == "rate_limited"
    assert json.loads(closing.payload)["code"] == last.code == 4201


async def test_who_sends_on_after_the_close_is_cut_off() -> None:
    async with echo_server() as address, open_socket(address) as socket:
        await socket.send(frame(TEXT, b"x" * (FRAME_BYTES + 1)))
        sending = asyncio.create_task(_send_for_ever(socket))
        *_, last = await socket.rest()
        sending.cancel()

    assert (last.opcode, last.code) == (CLOSE, 1009)


async def test_who_never_answers_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CLOSE_SECONDS", 0.1)
    async with echo_server(frames_per_second=1) as address, open_socket(address) as socket:
        await socket.send(frame(PING) * 10)
        assert (await socket.rest())[-1].code == 4201


async def test_who_does_not_read_is_not_read_either() -> None:
    """Answers wait in the server up to its bound, then in the client, which blocks itself."""
    text = frame(TEXT, b"x" * 10_000)
    async with echo_server() as address, open_socket(address) as socket:
        sent = await _fill(socket, text)
        # What is answered at last is what was sent: nothing is lost by waiting.
        for _ in range(sent):
            received = await socket.next()
            assert received is not None
            assert len(received.payload) == 10_000


def _deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")


async def test_nothing_is_compressed_unless_the_client_asks() -> None:
    async with echo_server() as address, open_socket(address) as socket:
        assert b"permessage-deflate" not in socket.headers
        await socket.send(frame(TEXT, b"shared " + b"x" * 1000))
        received = await socket.next()
        assert received is not None
        assert (received.rsv, len(received.payload)) == (0, 1007)
        await socket.send(frame(TEXT, _deflated(b"x"), rsv=4))
        assert (await socket.rest())[-1].code == 1002


async def test_compression_keeps_no_context_between_messages() -> None:
    async with echo_server() as address, open_socket(address, DEFLATE) as socket:
        assert b"server_no_context_takeover" in socket.headers
        assert b"client_no_context_takeover" in socket.headers
        text = b"shared " + b"abcdef" * 200
        for _ in range(2):
            await socket.send(frame(TEXT, _deflated(text), rsv=4))
            received = await socket.next()
            assert received is not None
            assert received.rsv == 4
            assert len(received.payload) < 100
            assert _inflated(received.payload) == text


async def test_a_client_with_a_smaller_window_gets_what_it_can_read() -> None:
    asked = f"{DEFLATE}; server_max_window_bits=9"
    async with echo_server() as address, open_socket(address, asked) as socket:
        await socket.send(frame(TEXT, b"shared " + b"x" * 1000))
        received = await socket.next()
        assert received is not None
        assert received.rsv == 0


BOMBS = {
    "a thousand times as long": _deflated(b"x" * FRAME_BYTES * 1000)[:60_000],
    "one byte too long": _deflated(b"x" * (FRAME_BYTES + 1)),
    "two bytes too long": _deflated(b"x" * (FRAME_BYTES + 2)),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_decompression_bomb_is_refused(name: str) -> None:
    async with echo_server() as address, open_socket(address, DEFLATE) as socket:
        await socket.send(frame(TEXT, BOMBS[name], rsv=4))
        received = await socket.rest()
        assert [answer.code for answer in received] == [1009]


async def test_the_longest_message_may_come_compressed() -> None:
    async with echo_server() as address, open_socket(address, DEFLATE) as socket:
        await socket.send(frame(TEXT, _deflated(b"x" * FRAME_BYTES), rsv=4), close(1000))
        *answers, last = await socket.rest()
        assert [len(answer.payload) for answer in answers] == [FRAME_BYTES]
        assert last.code == 1000


async def test_a_binary_flood_ends_a_session(gateway: Gateway) -> None:
    async with open_socket(gateway.ws) as socket:
        await socket.send(frame(BINARY, b"x") * 100)
        assert (await socket.rest())[-1].code == 4500


async def _answer_to(address: str, *parts: bytes) -> bytes:
    split = urlsplit(address)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(15):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_head_that_is_too_long_is_refused(gateway: Gateway) -> None:
    long = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * http_head.HEAD_BYTES + b"\r\n\r\n"
    many = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 4000 + b"\r\n"
    for head in (long, many):
        assert (await _answer_to(gateway.address, head)).startswith(b"HTTP/1.1 431 ")
        halves = head[:9_000], head[9_000:]
        assert (await _answer_to(gateway.address, *halves)).startswith(b"HTTP/1.1 431 ")


async def test_a_head_that_never_ends_is_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_head, "HEAD_SECONDS", 0.2)
    for begun in (b"", b"GET /livez HTTP/1.1\r\nHost:", b"GET /ws HTTP/1.1\r\nUpgrade: websocket"):
        assert (await _answer_to(gateway.address, begun)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * http_head.HEAD_BYTES, 431),
        (b"\x16\x03\x01 no HTTP at all\r\n\r\n", 400),
    ],
)
async def test_what_never_became_a_request_gets_a_problem_too(
    gateway: Gateway, head: bytes, status: int
) -> None:
    told, _, body = (await _answer_to(gateway.address, head)).partition(b"\r\n\r\n")
    problem = json.loads(body)

    assert told.startswith(b"HTTP/1.1 %d " % status)
    assert (problem["status"], problem["code"]) == (status, "bad_request")
    assert f"x-correlation-id: {problem['correlationId']}".encode() in told.lower()
    assert b"content-type: application/problem+json" in told


async def test_a_second_head_has_a_limit_of_its_own(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_head, "HEAD_SECONDS", 0.2)
    split = urlsplit(gateway.address)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    async with asyncio.timeout(15):
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await reader.readuntil(b'{"status":"ok"}')
        writer.write(b"GET /livez HTTP")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_addresses_of_a_trusted_proxy_count_each_for_itself(
    database_url: str, inbox_id: int
) -> None:
    limits = {"unauthenticated_per_address": 1, "sessions_per_address": 1}
    settings = settings_for(database_url, trusted_proxies="127.0.0.0/8", **limits)
    async with (
        running_gateway(settings) as gateway,
        gateway.raw(additional_headers={"X-Forwarded-For": "192.0.2.1"}) as first,
        gateway.raw(additional_headers={"X-Forwarded-For": "192.0.2.2"}) as second,
        # Whoever sent it: what the proxy adds comes last.
        gateway.raw(additional_headers={"X-Forwarded-For": "192.0.2.9, 192.0.2.2"}) as third,
    ):
        assert (await third.closed())[0] == 4201
        for client in (first, second):
            await client.send(type="connect", token=token())
            await client.next("connected")


async def test_nobody_but_a_trusted_proxy_names_another_address(
    database_url: str, inbox_id: int
) -> None:
    settings = settings_for(database_url, unauthenticated_per_address=1)
    async with (
        running_gateway(settings) as gateway,
        gateway.raw(additional_headers={"X-Forwarded-For": "192.0.2.1"}),
        gateway.raw(additional_headers={"X-Forwarded-For": "192.0.2.2"}) as second,
    ):
        assert (await second.closed())[0] == 4201


async def test_sessions_of_one_tenant_are_limited(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, sessions_per_tenant=1)
    async with running_gateway(settings) as gateway, gateway.session(), gateway.raw() as second:
        await second.send(type="connect", token=token("u2"))
        assert (await second.closed())[0] == 4506


async def test_sockets_of_one_address_are_limited(database_url: str, inbox_id: int) -> None:
    settings = settings_for(database_url, sessions_per_address=1)
    async with running_gateway(settings) as gateway:
        async with gateway.session(), gateway.raw() as second:
            assert (await second.closed())[0] == 4201
        async with gateway.session():
            pass


async def _fill(socket: RawSocket, text: bytes) -> int:
    """Send until nothing more is taken for a second; returns how often."""
    for sent in range(100_000):
        socket.writer.write(text)
        try:
            async with asyncio.timeout(1):
                await socket.writer.drain()
        except TimeoutError:
            return sent
    raise AssertionError("the server took a gigabyte")


async def _send_for_ever(socket: RawSocket) -> None:
    while not socket.writer.is_closing():
        await socket.send(frame(TEXT, b"x" * 1000))
        await asyncio.sleep(0)

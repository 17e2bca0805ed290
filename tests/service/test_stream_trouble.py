"""Streams and those who mean them ill, or nothing at all: bad input, floods, stalled readers."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import psycopg
import pytest

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.gateway.http import stream as streaming
from chatsync.gateway.pages import STREAM_BYTES
from conftest import SyncConnection
from service.harness import (
    Gateway,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
)
from service.streams import asking, publish, stream, ticket, until, until_left

pytestmark = pytest.mark.usefixtures("clean_logs")

# What asyncio holds before it says stop.
HIGH_WATER_BYTES = 65_536
EVENT_BYTES = 60_000


BAD: list[tuple[dict[str, Any], dict[str, str], int, str]] = [
    ({"cursor": "x"}, {}, 400, "bad_cursor"),
    ({"cursor": "abc.-1"}, {}, 400, "bad_cursor"),
    ({"cursor": "abc.1\n"}, {}, 400, "bad_cursor"),
    ({"cursor": ""}, {}, 400, "bad_cursor"),
    ({}, {"Last-Event-ID": "x"}, 400, "bad_cursor"),
    ({}, {"Last-Event-ID": "ü.1"}, 400, "bad_cursor"),
    ({}, {"Last-Event-ID": "a." + "9" * 2000}, 400, "bad_cursor"),
    ({"cursor": "abc.1"}, {"Last-Event-ID": "x"}, 400, "bad_cursor"),
    ({"topics": "tenant:t2"}, {}, 403, "forbidden"),
    ({"topics": "tenant,nonsense"}, {}, 403, "forbidden"),
    ({"topics": "conversation:999"}, {}, 403, "forbidden"),
    ({"topics": ","}, {}, 422, "invalid"),
    ({"topics": "\0"}, {}, 422, "invalid"),
    ({"topics": ",".join(f"x:{n}" for n in range(201))}, {}, 422, "invalid"),
    ({"token": "x"}, {}, 400, "token_in_url"),
    ({"ticket": token()}, {}, 400, "token_in_url"),
    ({}, {"Authorization": "Bearer x"}, 401, "unauthorized"),
    ({}, {"Authorization": f"Bearer {token(ttl=-60)}"}, 401, "token_expired"),
    ({}, {"Authorization": f"Bearer {token(tenant='nobody')}"}, 404, "not_found"),
]


async def test_a_bad_request_is_answered_with_a_problem_and_no_stream(gateway: Gateway) -> None:
    for query, headers, status, code in BAD:
        async with asking(gateway, headers=headers, **query) as answer:
            problem = await answer.body()
        assert (answer.status, problem["code"]) == (status, code), (query, headers)
        assert answer.headers["content-type"] == "application/problem+json"
    await until_left(gateway)


async def test_a_stream_is_only_to_be_got(gateway: Gateway) -> None:
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        given = await ticket(gateway)
        async with asking(gateway, method=method, ticket=given) as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "get")
        # And what was not got is not spent.
        async with stream(gateway, is_anonymous=True, ticket=given):
            pass
    await until_left(gateway)


async def test_what_a_client_sends_after_its_request_is_dropped(gateway: Gateway) -> None:
    async with asking(gateway, headers={"Content-Length": "5000000"}) as listener:
        await listener.next("connected")
        for _ in range(50):
            listener.writer.write(b"x" * 100_000)
            await listener.writer.drain()
        await publish(gateway, 1)
        assert (await listener.events(1))[0]["data"] == {"n": 1}
    await until_left(gateway)


async def test_a_client_that_never_reads_costs_no_more_than_a_page(
    database_url: str, inbox_id: int, owner: SyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "WRITE_TIMEOUT_SECONDS", 3.0)
    async with running_gateway(settings_for(database_url)) as gateway:
        async with (
            stream(gateway, receive_buffer=4096) as stalled,
            stream(gateway) as listener,
        ):
            await listener.next("connected")
            transport = await transport_of(gateway, stalled.writer)
            transport.get_extra_info("socket").setsockopt(1, 7, 4096)  # SO_SNDBUF
            publish_much(owner, 50)
            assert len(await listener.events(50)) == 50
            await until(lambda: transport.get_write_buffer_size() > HIGH_WATER_BYTES, "the stall")
            held = transport.get_write_buffer_size()
            assert held < HIGH_WATER_BYTES + STREAM_BYTES + 2 * EVENT_BYTES
            for _ in range(3):
                publish_much(owner, 100)
                assert len(await listener.events(100)) == 100
                # What it stopped at: nothing was added.
                assert transport.get_write_buffer_size() <= held
            await until(transport.is_closing, "the cut")
            assert transport.get_write_buffer_size() == 0
            await until(lambda: len(gateway.hub) == 1, "leaving")
            await publish(gateway, 1)
            assert (await listener.events(1))[0]["data"] == {"n": 1}
        await until_left(gateway)


async def test_a_stalled_reader_does_not_outlive_its_token(
    gateway: Gateway, owner: SyncConnection
) -> None:
    began_at = time.monotonic()
    async with stream(gateway, token(ttl=2), receive_buffer=4096) as stalled:
        transport = await transport_of(gateway, stalled.writer)
        transport.get_extra_info("socket").setsockopt(1, 7, 4096)
        publish_much(owner, 50)
        await until(transport.is_closing, "the cut")
        assert time.monotonic() - began_at < 7
    await until_left(gateway)


async def test_a_drain_does_not_wait_for_a_stalled_reader(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with stream(gateway, receive_buffer=4096) as stalled:
        transport = await transport_of(gateway, stalled.writer)
        transport.get_extra_info("socket").setsockopt(1, 7, 4096)
        publish_much(owner, 50)
        await until(lambda: transport.get_write_buffer_size() > HIGH_WATER_BYTES, "the stall")
        began_at = time.monotonic()
        gateway.hub.drain()
        await until_left(gateway)
        assert time.monotonic() - began_at < 5


async def test_a_slow_reader_gets_everything_in_order(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with stream(gateway, receive_buffer=4096) as slow:
        transport = await transport_of(gateway, slow.writer)
        publish_much(owner, 200)
        await until(lambda: transport.get_write_buffer_size() > HIGH_WATER_BYTES, "the stall")
        events = await slow.events(200)
    assert [event["seq"] for event in events] == list(range(1, 201))


def publish_much(owner: SyncConnection, count: int) -> None:
    owner.execute(
        "select chatsync.publish('t1', array['tenant:t1'], 'test',"
        " jsonb_build_object('x', repeat('x', %s))) from generate_series(1, %s)",
        [EVENT_BYTES, count],
    )
    owner.execute("select chatsync.stamp()")
    owner.execute("select pg_notify('chatsync', '')")


async def transport_of(gateway: Gateway, writer: asyncio.StreamWriter) -> Any:
    """The server's end of a connection."""
    port = writer.get_extra_info("sockname")[1]
    for connection in gateway.server.server_state.connections:
        transport: Any = connection.transport
        if transport.get_extra_info("peername")[1] == port:
            return transport
    raise AssertionError("the server knows of no such connection")


async def test_a_flood_of_clients_that_come_and_go_leaves_nothing(gateway: Gateway) -> None:
    async def come_and_go(number: int) -> None:
        async with asking(gateway, jwt=token(f"u{number}")) as listener:
            assert listener.status == 200
            if number % 2:
                await listener.next("connected")
            if number % 3:
                listener.writer.transport.abort()

    for _ in range(4):
        await asyncio.gather(*(come_and_go(number) for number in range(40)))
    await until_left(gateway)


async def test_a_stream_outlives_a_restart_of_postgresql(server: EmbeddedPostgres) -> None:
    async with running_gateway(settings_for(server.url)) as gateway, stream(gateway) as listener:
        await listener.next("connected")
        number = 0
        for is_immediate in (False, True):
            await publish(gateway, number + 1)
            await asyncio.to_thread(server.restart, immediate=is_immediate)
            await gateway.until_ready()
            await publish(gateway, number + 2)
            number += 2
        events = await listener.events(4)

    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert [event["data"]["n"] for event in events] == [1, 2, 3, 4]


async def test_terminated_backends_end_no_stream(database_url: str, gateway: Gateway) -> None:
    async with stream(gateway) as listener:
        await listener.next("connected")
        for number in range(3):
            with psycopg.connect(database_url, autocommit=True) as admin:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                    " and backend_type = 'client backend'"
                )
            await gateway.until_ready()
            await publish(gateway, number)
        assert [event["data"]["n"] for event in await listener.events(3)] == [0, 1, 2]


@asynccontextmanager
async def elsewhere(port: int) -> AsyncGenerator[Gateway]:
    """A gateway in a process of its own, into which a test cannot look."""
    address = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=address) as http:
        gateway = Gateway(address, http, cast(Any, None), cast(Any, None))
        await gateway.until_ready()
        yield gateway


async def test_a_process_that_is_told_to_stop_ends_its_streams_and_itself(
    database_url: str, inbox_id: int, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "log"
    with process("serve", "--port", str(port), database_url=database_url, log=log) as serving:
        async with (
            elsewhere(port) as gateway,
            stream(gateway, is_anonymous=True, ticket=(given := await ticket(gateway))) as listener,
        ):
            await listener.next("connected")
            began_at = time.monotonic()
            serving.kill(15)
            closing = await listener.closed()
            assert await asyncio.to_thread(serving.wait) == 0
            assert time.monotonic() - began_at < 8

    assert closing["code"] == 4100
    assert "Traceback" not in log.read_text()
    assert given not in log.read_text()

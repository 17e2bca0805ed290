"""The proxy with faults does what each of them is called, and nothing else."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from faults.proxy import CHUNK, Proxy, proxy_to, to_port, to_unix
from service.streams import until


@dataclass
class Line:
    """A client of an echo behind a proxy."""

    proxy: Proxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echoed(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 5)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def line() -> AsyncGenerator[Line]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        async with proxy_to(to_port(server.sockets[0].getsockname()[1])) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            yield Line(proxy, reader, writer)
            writer.close()
    finally:
        server.close()


async def test_what_is_said_passes_in_order_and_is_remembered_by_its_opening() -> None:
    async with line() as it:
        assert await it.echoed(b"hello") == b"hello"
        data = bytes(number % 251 for number in range(100_000))
        assert await it.echoed(data) == data
        assert it.proxy.saying(b"ell") == it.proxy.wires
        assert it.proxy.saying(b"other") == []


async def test_a_delay_is_a_delay_and_no_limit() -> None:
    async with line() as it:
        it.proxy.weather.delay_seconds = 0.1
        began = time.monotonic()
        assert await it.echoed(b"x" * CHUNK * 8) == b"x" * CHUNK * 8
        # There and back; each of many chunks waits beside the others and not behind them.
        assert 0.2 <= time.monotonic() - began < 1.0


async def test_a_slow_line_passes_so_many_bytes_in_a_second() -> None:
    async with line() as it:
        it.proxy.weather.bytes_per_second = 10_000
        began = time.monotonic()
        await it.echoed(b"x" * 2000)
        assert time.monotonic() - began >= 0.2


async def test_a_frozen_wire_stays_open_and_passes_what_was_said_once_it_thaws() -> None:
    async with line() as it:
        await it.echoed(b"begin")
        (wire,) = it.proxy.wires
        wire.freeze()
        it.writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.reader.read(1), 0.1)
        assert it.proxy.wires == [wire]
        wire.thaw()
        assert await asyncio.wait_for(it.reader.readexactly(5), 5) == b"hello"


async def test_a_frozen_wire_takes_in_little_and_then_stops_its_sender() -> None:
    async with line() as it:
        await it.echoed(b"begin")
        it.proxy.wires[0].freeze()
        it.writer.write(b"x" * 50_000_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.writer.drain(), 0.2)
        # What the kernel and the proxy hold is small beside it.
        assert it.writer.transport.get_write_buffer_size() > 25_000_000
        it.writer.transport.abort()


async def test_a_cut_ends_in_the_middle_of_what_is_said() -> None:
    async with line() as it:
        await it.echoed(b"begin")
        it.proxy.wires[0].cut()
        it.writer.write(b"12345678")
        assert await asyncio.wait_for(it.reader.read(), 5) == b"1234"


async def test_a_reset_is_one() -> None:
    async with line() as it:
        await it.echoed(b"begin")
        it.proxy.wires[0].reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(it.reader.read(), 5)
        await until(lambda: not it.proxy.wires, "the end of the wire")


async def test_whoever_is_not_there_ends_the_connection_at_once() -> None:
    async with proxy_to(to_unix("/nowhere/at/all")) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

"""A stream of Server-Sent Events as a browser reads it, byte by byte off a socket."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from service.harness import PATIENCE_SECONDS, Gateway, token
from service.payloads import Frame

PATH = "/api/events/stream"


@dataclass
class Stream:
    """One answer, and what it brought so far. `position` is what a browser would send back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int
    headers: Mapping[str, str]
    position: str | None = None
    retries: list[int] = field(default_factory=list[int])
    _text: bytes = b""

    async def next(self, *kinds: str) -> Frame:
        """The next event's frame of one of the kinds; any but a ping without them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frame = await self._event()
                assert frame is not None, "the stream has ended"
                if frame["type"] in kinds or (not kinds and frame["type"] != "ping"):
                    return frame

    async def events(self, count: int) -> list[Frame]:
        found: list[Frame] = []
        while len(found) < count:
            found += (await self.next("events"))["events"]
        return found

    async def closed(self) -> Frame:
        """The `closing` frame, once the answer has ended behind it."""
        closing = await self.next("closing")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await self._event() is None
        return closing

    async def body(self) -> Any:
        """The whole answer, where it is no stream."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return json.loads(await self.reader.readexactly(int(self.headers["content-length"])))

    async def _event(self) -> Frame | None:
        """The next event, as the standard has it read; None at the end."""
        while True:
            block, end, rest = self._text.partition(b"\n\n")
            if not end:
                chunk = await self._chunk()
                if not chunk:
                    assert self._text == b"", "the stream ended inside of an event"
                    return None
                self._text += chunk
                continue
            self._text = rest
            fields = [line.decode().split(": ", 1) for line in block.split(b"\n")]
            names = [name for name, _ in fields]
            assert len(set(names)) == len(names), "a field came twice"
            values = dict(fields)
            if "retry" in values:
                self.retries.append(int(values.pop("retry")))
            if values:
                frame = json.loads(values["data"])
                assert frame["type"] == values["event"]
                self.position = values.get("id", self.position)
                return frame

    async def _chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data


@asynccontextmanager
async def asking(
    gateway: Gateway,
    *,
    jwt: str | None = None,
    headers: Mapping[str, str] | None = None,
    is_anonymous: bool = False,
    method: str = "GET",
    receive_buffer: int | None = None,
    **query: str,
) -> AsyncGenerator[Stream]:
    """Ask for a stream, whatever the answer is."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    # A small limit: what a test does not read is to stay with the server.
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**16)
    sent = {"Host": "test", "Authorization": f"Bearer {jwt or token()}"}
    if is_anonymous:
        del sent["Authorization"]
    lines = [f"{name}: {value}" for name, value in (sent | dict(headers or {})).items()]
    path = PATH + ("?" + urlencode(query) if query else "")
    try:
        writer.write("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("utf-8"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        yield Stream(reader, writer, int(head[0].split()[1]), found)
    finally:
        writer.close()


@asynccontextmanager
async def stream(gateway: Gateway, jwt: str | None = None, **more: Any) -> AsyncGenerator[Stream]:
    """An open stream; its `connected` frame is still to be read."""
    async with asking(gateway, jwt=jwt, **more) as answer:
        assert answer.status == 200, await answer.body()
        yield answer


async def ticket(gateway: Gateway, jwt: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {jwt or token()}"}
    answer = await gateway.http.post("/api/ticket", headers=headers)
    assert answer.status_code == 200
    return answer.json()["ticket"]


async def publish(gateway: Gateway, *numbers: int, tenant: str = "t1", **more: Any) -> None:
    """Publish events with a number each, one after the other."""
    headers = {"Authorization": f"Bearer {token(tenant=tenant, role='service')}"}
    for number in numbers:
        event = {"topics": ["tenant"], "type": "test", "data": {"n": number}} | more
        answer = await gateway.http.post("/api/events", json=event, headers=headers)
        assert answer.status_code == 202, answer.text


async def until_left(gateway: Gateway) -> None:
    """Until nothing of any session is left in a gateway."""
    await until(lambda: not gateway.hub._everyone and not gateway.feed._feeds, "leaving")
    assert not gateway.hub._by_tenant
    assert not gateway.hub._by_user
    assert not gateway.hub._unauthenticated


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Ask again and again; for states that send no signal."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.01)

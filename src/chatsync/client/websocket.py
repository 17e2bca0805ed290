"""A client's connection as a WebSocket."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from chatsync.client import frames
from chatsync.client.entries import Frame
from chatsync.client.link import Link, LinkClosed
from chatsync.client.reconnect import ABNORMAL, Ending

SUBPROTOCOL = Subprotocol("chatsync.v1")
CLOSE_SECONDS = 2.0


@asynccontextmanager
async def open_websocket(url: str, timeout: float) -> AsyncGenerator[Link]:
    """Connect; whatever stands between may still swallow the frames. Raises LinkClosed."""
    try:
        socket = await connect(
            url,
            subprotocols=[SUBPROTOCOL],
            open_timeout=timeout,
            close_timeout=CLOSE_SECONDS,
            # The protocol has its own, which a client that stops to read answers late, not never.
            ping_interval=None,
            # A frame that is refused would come again.
            max_size=None,
        )
    except (InvalidHandshake, TimeoutError, ConnectionResetError) as error:
        raise LinkClosed(Ending(reason=_said(error))) from error
    except OSError as error:
        raise LinkClosed(Ending(reason=_said(error)), is_unreachable=True) from error
    async with socket:
        yield WebSocketLink(socket)


class WebSocketLink:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, frame: Frame) -> None:
        try:
            await self._socket.send(json.dumps(frame))
        except ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def frames(self) -> AsyncIterator[Frame]:
        while True:
            try:
                text = await self._socket.recv()
            except ConnectionClosed as closed:
                raise _closed(closed) from closed
            yield frames.decode(text)


def _closed(closed: ConnectionClosed) -> LinkClosed:
    # What this side sent says nothing of what the server wants.
    if closed.rcvd is None:
        return LinkClosed(Ending(ABNORMAL, "the connection broke"))
    return LinkClosed(Ending(closed.rcvd.code, closed.rcvd.reason))


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__

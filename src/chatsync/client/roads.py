"""Opens a connection over the transport that is asked for."""

from contextlib import AbstractAsyncContextManager

from chatsync.client.api import Api
from chatsync.client.entries import Transport
from chatsync.client.link import Link
from chatsync.client.pace import Pace
from chatsync.client.poll import open_poll
from chatsync.client.protocol import Protocol
from chatsync.client.sse import open_sse
from chatsync.client.websocket import open_websocket


class Roads:
    """The ways to one gateway."""

    def __init__(self, api: Api, websocket: str, pace: Pace) -> None:
        self._api = api
        self._websocket = websocket
        self._pace = pace

    def open(
        self, transport: Transport, protocol: Protocol, token: str
    ) -> AbstractAsyncContextManager[Link]:
        """A connection for what the protocol asks. Entering it raises LinkClosed."""
        if transport == "websocket":
            return open_websocket(self._websocket, self._pace.connect_seconds)
        query = {"topics": ",".join(protocol.topics.names)}
        if protocol.asked is not None:
            query["cursor"] = str(protocol.asked)
        if transport == "sse":
            return open_sse(self._api, query, token, self._pace.connect_seconds)
        return open_poll(self._api, query, token)

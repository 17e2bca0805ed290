"""The head of a request in bounded time and size: uvicorn's HTTP protocol has limits for neither.

Given to uvicorn as its protocol class. What is slow or long before it is a request costs nothing
but a socket, and that not for long.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from chatsync.errors import BadRequest
from chatsync.gateway.http.problems import written

HEAD_BYTES = 16_384
HEAD_SECONDS = 5.0
_END = b"\r\n\r\n"


# httptools' where the extra `fast` is installed, else h11's: what is used here both have.
_Http = cast("type[H11Protocol]", AutoHTTPProtocol)
_CUT = "chatsync.cut"


class HttpHead(_Http):
    """One HTTP connection under uvicorn, until a request's head is complete, each time."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._offer_cut(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._cycle
        # What is left of a body that was refused unread is no head.
        if before is not None and (before.more_body or not before.response_complete):
            super().data_received(data)
            return
        end = data.find(_END)
        self._head_bytes += len(data) if end < 0 else end
        if self._head_bytes > HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too long")
            return
        self._await_head()
        super().data_received(data)
        if self._cycle is not before:
            self._have_head()

    # httptools' is called without arguments, h11's with its event.
    def handle_websocket_upgrade(self, *arguments: Any) -> None:  # pyright: ignore
        self._have_head()
        super().handle_websocket_upgrade(*arguments)

    def _offer_cut(self, transport: asyncio.Transport) -> None:
        """Let an endpoint drop its connection: uvicorn closes one only after all is written."""
        app = self.app

        async def with_cut(scope: Any, receive: Any, send: Any) -> None:
            scope[_CUT] = transport.abort
            await app(scope, receive, send)

        self.app = with_cut

    @property
    def _cycle(self) -> Any:
        return cast(Any, self.cycle)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(
                HEAD_SECONDS, self._refuse, HTTPStatus.REQUEST_TIMEOUT, "the head did not end"
            )

    def _have_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no HTTP request")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._have_head()
        if not self.transport.is_closing():
            self.transport.write(written(BadRequest(detail), status))
            self.transport.close()


def cut(scope: Scope) -> None:
    """Drop a request's connection with whatever it was still to get."""
    if _CUT in scope:
        scope[_CUT]()

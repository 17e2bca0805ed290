"""uvicorn's HTTP protocol, with a way for an endpoint to cut its connection.

uvicorn closes a connection after it has written what is buffered, and a client that does not read
never lets it come to that.
"""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_CUT = "chatsync.cut"


def protocol(**given: Any) -> asyncio.Protocol:
    """What `uvicorn.Config` takes as `http`."""
    made: Any = AutoHTTPProtocol(**given)
    app = made.app

    async def with_cut(scope: Scope, receive: Receive, send: Send) -> None:
        scope[_CUT] = made.transport.abort
        await app(scope, receive, send)

    made.app = with_cut
    return made


def cut(scope: Scope) -> None:
    """Drop a request's connection with whatever it was still to get."""
    if _CUT in scope:
        scope[_CUT]()

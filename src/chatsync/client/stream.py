"""Follows a tenant's events over a WebSocket: resumes by cursor, reconnects by close code range.

Knows the wire protocol and nothing of the server's insides.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

Frame: TypeAlias = dict[str, Any]

MAX_BACKOFF_SECONDS = 30.0
SUBPROTOCOL = "chatsync.v1"


class Stopped(Exception):
    """The server said that coming back is of no use (close codes 45xx); the message says why."""


@dataclass(slots=True)
class _Position:
    cursor: str | None
    failures: int = 0


async def follow(
    url: str, token: str, *, topics: Sequence[str] | None = None, cursor: str | None = None
) -> AsyncGenerator[Frame]:
    """Yield the server's frames for ever, each event once and in order. Raises Stopped."""
    position = _Position(cursor)
    while True:
        window: tuple[float, float] | None = None
        try:
            async with connect(url, subprotocols=[cast(Any, SUBPROTOCOL)], max_size=None) as socket:
                await socket.send(json.dumps(_hello(token, topics, position.cursor)))
                async for frame in _frames(socket, position):
                    if frame["type"] == "closing":
                        window = (frame["retryMs"][0] / 1000, frame["retryMs"][1] / 1000)
                    yield frame
        except ConnectionClosed as closed:
            _judge(closed, position)
        except (OSError, InvalidHandshake, TimeoutError):
            pass
        position.failures += 1
        least, most = window or (0.0, min(MAX_BACKOFF_SECONDS, 0.25 * 2**position.failures))
        await asyncio.sleep(random.uniform(least, most))  # noqa: S311 - jitter, not a secret


def _hello(token: str, topics: Sequence[str] | None, cursor: str | None) -> Frame:
    hello: Frame = {"type": "connect", "token": token}
    if topics is not None:
        hello["topics"] = list(topics)
    if cursor is not None:
        hello["cursor"] = cursor
    return hello


async def _frames(socket: ClientConnection, position: _Position) -> AsyncGenerator[Frame]:
    async for text in socket:
        frame = cast(Frame, json.loads(text))
        match frame["type"]:
            case "ping":
                position.cursor = frame["cursor"]
                pong = {"type": "pong", "n": frame["n"], "cursor": frame["cursor"]}
                await socket.send(json.dumps(pong))
            case "connected" | "reset":
                position.cursor, position.failures = frame["cursor"], 0
                yield frame
            case "events":
                if position.cursor is None or not _is_newer(frame["to"], position.cursor):
                    continue
                yield frame
                # After the yield: what was not taken is not acknowledged.
                position.cursor = frame["to"]
                await socket.send(json.dumps({"type": "ack", "cursor": frame["to"]}))
            case _:
                yield frame


def _is_newer(cursor: str, than: str) -> bool:
    return int(cursor.rpartition(".")[2]) > int(than.rpartition(".")[2])


def _judge(closed: ConnectionClosed, position: _Position) -> None:
    """What the range of a close code asks for (protocol §3)."""
    code = closed.rcvd.code if closed.rcvd else 1006
    if 4500 <= code < 4600 or code in {1002, 1003, 1007, 1009} or 4300 <= code < 4400:
        raise Stopped(f"{code} {closed.rcvd.reason if closed.rcvd else ''}".strip())
    if 4400 <= code < 4500:
        position.cursor = None

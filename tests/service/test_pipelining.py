"""Frames that come at once are answered one after the other, each with its own id."""

import json
from typing import Any

import pytest

from service.harness import Gateway, token
from service.raw_socket import TEXT, RawSocket, frame, open_socket

pytestmark = pytest.mark.usefixtures("clean_logs")


def message(**fields: Any) -> bytes:
    return frame(TEXT, json.dumps(fields).encode())


async def answers(socket: RawSocket, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        received = await socket.next()
        assert received is not None
        assert received.opcode == TEXT, received
        found.append(json.loads(received.payload))
    return found


async def test_what_comes_with_the_connect_waits_for_it(gateway: Gateway) -> None:
    async with open_socket(gateway.ws) as socket:
        await socket.send(
            message(type="connect", id=1, token=token()),
            message(type="subscribe", id=2, topics=["presence"]),
            message(type="unsubscribe", id=3, topics=["presence"]),
            message(type="ack"),
            message(type="ping", n=4),
            message(type="refresh", id=5, token=token()),
            message(type="nonsense", id=6),
        )
        found = await answers(socket, 7)
    told = [(each["type"], each.get("id", each.get("n"))) for each in found]
    assert told == [
        ("connected", 1),
        ("reply", 2),
        ("reply", 3),
        ("error", None),
        ("pong", 4),
        ("reply", 5),
        ("error", 6),
    ]


async def test_order_holds_over_pieces_and_questions(gateway: Gateway) -> None:
    hello = message(type="connect", id=0, token=token())
    # Each of them is asked of the database; all together are longer than what is read at once.
    asked = [
        message(type="subscribe", id=number, topics=["user"], padding="x" * 200)
        for number in range(1, 60)
    ]
    async with open_socket(gateway.ws) as socket:
        await socket.send(hello, *asked)
        found = await answers(socket, 60)
        # And it goes on reading.
        await socket.send(message(type="ping", n=60))
        found += await answers(socket, 1)
    assert [each.get("id", each.get("n")) for each in found] == list(range(61))


async def test_a_connect_that_is_refused_takes_what_came_with_it_along(gateway: Gateway) -> None:
    async with open_socket(gateway.ws) as socket:
        await socket.send(
            message(type="connect", id=1, token="nonsense"), message(type="ping", n=2) * 20
        )
        *found, last = await socket.rest()
    assert [json.loads(each.payload)["type"] for each in found] == ["error", "closing"]
    assert last.code == 4501

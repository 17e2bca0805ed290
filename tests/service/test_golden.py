"""Every scenario of tests/golden is what the server really says, and fits the contract."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

import contracts
from golden_replay import Mismatch, Node, Values, scenarios
from service.harness import PATIENCE_SECONDS, TENANT, Gateway, token
from service.payloads import delivery, said

pytestmark = pytest.mark.usefixtures("clean_logs")


class Replay:
    """The sockets of one scenario, by name."""

    def __init__(self, gateway: Gateway, values: Values, sockets: AsyncExitStack) -> None:
        self._gateway = gateway
        self._values = values
        self._sockets = sockets
        self._clients: dict[str, ClientConnection] = {}

    async def take(self, step: Node) -> None:
        name = step.get("on", "")
        if "open" in step:
            self._clients[name] = await self._open(step["open"])
        elif "publish" in step:
            await self._publish(self._values.fill(step["publish"]))
        elif "expectEvents" in step:
            await self._expect_events(name, step)
        else:
            await self._speak_or_hear(self._clients[name], step)

    async def _speak_or_hear(self, socket: ClientConnection, step: Node) -> None:
        match step:
            case {"send": frame}:
                await socket.send(json.dumps(self._values.fill(frame)))
            case {"sendText": str(text)}:
                await socket.send(text)
            case {"sendBinary": str(text)}:
                await socket.send(base64.b64decode(text))
            case {"expect": expected}:
                self._values.match(expected, await _next(socket, expected["type"]))
            case {"expectClosed": code}:
                await socket.wait_closed()
                assert socket.close_code == code
            case {"leave": _}:
                await socket.close()
            case _:
                raise AssertionError(f"no such step: {step}")

    async def _open(self, options: Node) -> ClientConnection:
        offered = [Subprotocol(name) for name in options.get("subprotocols", [])]
        made = connect(self._gateway.ws, subprotocols=offered or None, close_timeout=2)
        socket = await self._sockets.enter_async_context(made)
        assert socket.subprotocol == options.get("answered")
        return socket

    async def _publish(self, body: Node) -> None:
        headers = {"Authorization": f"Bearer {token('app', role='service')}"}
        answer = await self._gateway.http.post("/api/events", json=body, headers=headers)
        assert answer.status_code == 202, answer.text

    async def _expect_events(self, name: str, step: Node) -> None:
        frames: list[Node] = []
        events: list[Node] = []
        while len(events) < len(step["expectEvents"]):
            frames.append(await _next(self._clients[name], "events"))
            self._values.match({"type": "events"}, frames[-1])
            events += frames[-1]["events"]
        for before, after in pairwise(frames):
            assert after["from"] == before["to"]
        self._values.match(step["expectEvents"], events)
        self._values.match(step.get("from", "$string"), frames[0]["from"])
        self._values.match(step.get("to", "$string"), frames[-1]["to"])


async def _next(socket: ClientConnection, expected: str) -> Node:
    """The next frame, which fits the contract; pings are answered."""
    while True:
        frame: Node = json.loads(await socket.recv())
        contracts.check_frame(frame)
        if frame["type"] == expected or frame["type"] not in {"ping", "ephemeral"}:
            return frame
        if frame["type"] == "ping":
            await socket.send(json.dumps({"type": "pong", "n": frame["n"]}))


@pytest.fixture
async def values(gateway: Gateway) -> Values:
    """Of a tenant with a conversation, in which nothing happens any more."""
    async with gateway.session() as agent:
        await gateway.post(delivery(said("hello", "golden")))
        first, _ = await agent.events(2)
    conversation = first["data"]["conversation"]["id"]
    return Values(TENANT, conversation, token)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["name"])
async def test_the_server_says_what_a_scenario_expects(
    gateway: Gateway, values: Values, scenario: Node
) -> None:
    async with AsyncExitStack() as sockets, asyncio.timeout(PATIENCE_SECONDS):
        replay = Replay(gateway, values, sockets)
        for step in scenario["steps"]:
            try:
                await replay.take(step)
            except Mismatch as error:
                raise AssertionError(f"{error}\nat {json.dumps(step)}") from error

"""What a measured Python program is told on its standard input, and what it answers.

A line is a JSON object, and so is each answer; what else is printed goes to the standard error.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

PAYLOAD_BYTES = 700


class Tally:
    """Counts what comes to the handler: how often each message, and whether its key is in order."""

    def __init__(self, count: int) -> None:
        self.handled = 0
        self.first_at = 0.0
        self.disorder = 0
        self.is_complete = asyncio.Event()
        self._count = count
        self._times = bytearray(count)
        self._last: dict[str, int] = {}

    def add(self, payload: Mapping[str, Any]) -> None:
        number, key = payload["n"], payload["key"]
        if not self.handled:
            self.first_at = time.monotonic()
        self.handled += 1
        self._times[number] += 1
        if key is not None:
            if self._last.get(key, -1) > number:
                self.disorder += 1
            self._last[key] = number
        if self.handled == self._count:
            self.is_complete.set()

    def told(self, began_at: float) -> dict[str, float]:
        return {
            "handled": self.handled,
            "distinct": self._count - self._times.count(0),
            "disorder": self.disorder,
            "first_ms": (self.first_at - began_at) * 1e3,
        }


class Program(Protocol):
    """A queue in use. `payloads` are enqueued in their order, unless they have no key."""

    async def install(self) -> None: ...
    async def enqueue(
        self, payloads: Sequence[dict[str, Any]], settings: Mapping[str, int]
    ) -> None: ...
    async def ready(self, settings: Mapping[str, int]) -> None:
        """Be as near to the first message as can be without taking it."""
        ...

    async def begin(self, tally: Tally, keys: int, settings: Mapping[str, int]) -> None: ...
    async def end(self) -> None: ...


def payloads(count: int, keys: int) -> list[dict[str, Any]]:
    """Messages of so many keys in turns, or of none."""
    made = []
    for number in range(count):
        key = f"key-{number % keys}" if keys else None
        payload = {"n": number, "key": key, "text": ""}
        payload["text"] = "x" * (PAYLOAD_BYTES - len(json.dumps(payload)))
        made.append(payload)
    return made


def batches(messages: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [messages[start : start + size] for start in range(0, len(messages), size)]


async def in_turns(calls: Sequence[Any], concurrency: int) -> None:
    """Await what functions return, so many at once."""
    left = iter(calls)

    async def work() -> None:
        for call in left:
            await call()

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def converse(program: Program) -> None:
    """Do what is asked until the input ends."""
    lines, output = await _input(), _output()
    tally, began_at = Tally(0), 0.0
    while line := await lines.readline():
        asked = json.loads(line)
        settings = asked.get("settings", {})
        answer: dict[str, float] = {}
        match asked["do"]:
            case "install":
                await program.install()
            case "enqueue":
                messages = payloads(asked["count"], asked["keys"])
                started = time.monotonic()
                await program.enqueue(messages, settings)
                answer["seconds"] = time.monotonic() - started
            case "ready":
                await program.ready(settings)
            case "drain":
                tally, began_at = Tally(asked["count"]), time.monotonic()
                await program.begin(tally, asked["keys"], settings)
                # The driver may lose its patience, and asks for the end before.
                await _first_of(tally.is_complete.wait(), lines)
            case "end":
                await program.end()
                answer = tally.told(began_at)
        print(json.dumps(answer), file=output, flush=True)


class _Lines:
    """Lines of the standard input, of which the next one can be awaited without taking it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._next: asyncio.Task[bytes] | None = None

    def peek(self) -> "asyncio.Task[bytes]":
        self._next = self._next or asyncio.create_task(self._reader.readline())
        return self._next

    async def readline(self) -> bytes:
        line = await self.peek()
        self._next = None
        return line


async def _first_of(done: Any, lines: _Lines) -> None:
    waiting = asyncio.create_task(done)
    await asyncio.wait([waiting, lines.peek()], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


async def _input() -> _Lines:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return _Lines(reader)


def _output() -> TextIO:
    """The standard output, out of reach for loggers."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return output

"""Events that a test publishes by itself, and waiting for states that send no signal."""

import asyncio
from collections.abc import Callable
from typing import Any

from conftest import SyncConnection
from service.harness import PATIENCE_SECONDS, Client
from service.payloads import Frame


def say(worker: SyncConnection, *numbers: int, topic: str = "tenant:t1") -> None:
    """Publish one event for each number, as another program does."""
    for number in numbers:
        worker.execute(
            "select chatsync.publish('t1', array[%s], 'test', jsonb_build_object('n', %s::int))",
            [topic, number],
        )


async def until(check: Callable[[], Any]) -> None:
    """Ask a quick question until its answer is true, and let the gateways run."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not check():  # noqa: ASYNC110 - the database sends no signal
            await asyncio.sleep(0.02)


async def hear(agent: Client, last: int) -> list[Frame]:
    """The `events` frames up to the one that brings this number."""
    frames = [await agent.next("events")]
    while last not in numbers(frames):
        frames.append(await agent.next("events"))
    return frames


def numbers(frames: list[Frame]) -> list[int]:
    return [
        event["data"]["n"]
        for frame in frames
        for event in frame["events"]
        if event["type"] == "test"
    ]

"""The examples of docs/client.md do what it says, and `chatsync tail` shows what they see."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from service.harness import JWT_SECRET, PATIENCE_SECONDS, Gateway, token
from service.payloads import delivery, said

# A relative one would mean another folder elsewhere.
PYTHON_PATH = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def scripts() -> dict[str, str]:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return {block.split("\n")[0].removeprefix("# "): block for block in blocks}


@asynccontextmanager
async def running(gateway: Gateway, jwt: str, *arguments: str) -> AsyncGenerator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={
            **os.environ,
            "GATEWAY": gateway.address,
            "TOKEN": jwt,
            "CHATSYNC_JWT_SECRET": JWT_SECRET,
            "PYTHONPATH": PYTHON_PATH,
        },
        stdin=DEVNULL,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        return (await process.stdout.readline()).decode().strip()


async def test_the_agent_loads_its_state_and_then_hears_what_is_new(gateway: Gateway) -> None:
    async with gateway.session() as session:
        await gateway.post(delivery(said("before", "w0")))
        await session.events_until("before")
    async with running(gateway, token(), "-c", scripts()["agent.py"]) as agent:
        assert await line(agent) == "1 conversations"
        await gateway.post(delivery(said("Hello!", "w1")))
        assert await line(agent) == "Ana: Hello!"


async def test_the_watcher_watches_and_says_when_it_is_not_wanted(gateway: Gateway) -> None:
    script = scripts()["watcher.py"]
    async with running(gateway, token(), "-c", script) as watcher:
        assert await line(watcher) == "ready"
        await gateway.post(delivery(said("Hello!", "w1")))
        assert await line(watcher) == "1 conversation:new"
        assert await line(watcher) == "2 message:new"
    async with running(gateway, "nonsense", "-c", script) as watcher:
        assert await line(watcher) == "not wanted: 4501"


async def test_tail_prints_a_line_for_each_event(gateway: Gateway) -> None:
    arguments = ("-m", "chatsync", "tail", "--tenant", "t1", "--url", gateway.address)
    async with running(gateway, "", *arguments) as tail:
        assert re.fullmatch(r"connected as tail of t1 at \w+\.0", await line(tail))
        await gateway.post(delivery(said("Hello!", "w1")))
        assert re.fullmatch(r"\S+Z       1  conversation:new", await line(tail))
        assert re.fullmatch(r"\S+Z       2  message:new            Ana  Hello!", await line(tail))


async def test_tail_prints_frames_as_they_came(gateway: Gateway) -> None:
    arguments = ("-m", "chatsync", "tail", "--json", "--tenant", "t1", "--url", gateway.address)
    async with running(gateway, "", *arguments) as tail:
        assert (await line(tail)).startswith('{"type": "connected", ')
        await gateway.post(delivery(said("Hello!", "w1")))
        assert (await line(tail)).startswith('{"type": "events", "from": ')


async def test_tail_ends_where_it_is_not_wanted(gateway: Gateway) -> None:
    arguments = ("-m", "chatsync", "tail", "--url", gateway.address, "--token", "nonsense")
    async with running(gateway, "", *arguments) as tail:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await tail.wait() == 2

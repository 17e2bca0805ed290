"""What happens at the edges of a session's life: faults of ours, several processes, a restart."""

import json
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from chatsync.gateway import requests
from service.harness import Gateway, free_port, process, token, wait_for


async def test_a_fault_of_ours_ends_one_session_and_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with gateway.session() as first, gateway.session() as second:
        with monkeypatch.context() as patched:
            patched.setattr(requests, "parse", fail)
            await first.send(type="ping")
            code, closing = await first.closed()
        assert code == closing["code"] == 4202
        assert "ZeroDivision" not in json.dumps(closing)
        await second.send(type="ping", n=1)
        assert (await second.next("pong"))["n"] == 1


async def test_sockets_live_in_each_of_several_processes(
    database_url: str, inbox_id: int, tmp_path: Path
) -> None:
    port = free_port()
    arguments = ("serve", "--port", str(port), "--workers", "2")
    log = tmp_path / "serve.log"
    with process(*arguments, database_url=database_url, log=log) as served:
        wait_for(lambda: _answers(port), "serving")
        for _ in range(10):
            async with connect(f"ws://127.0.0.1:{port}/ws") as socket:
                await socket.send(json.dumps({"type": "connect", "token": token()}))
                assert json.loads(await socket.recv())["type"] == "connected"
        served.kill(15)
        served.wait()


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False

"""A gateway and a worker as tests drive them: real sockets on loopback, a real database."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2
import psycopg
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect

from chatsync.events.feed import Feed
from chatsync.gateway.app import create
from chatsync.gateway.auth import mint
from chatsync.gateway.hub import Hub
from chatsync.gateway.server import bind, configuration
from chatsync.providers.whatsapp_cloud import sign
from chatsync.settings import Settings
from service.payloads import NUMBER, Frame

JWT_SECRET = "a-secret-of-the-tests-with-32-bytes!"
APP_SECRET = "app-secret-of-the-tests"
VERIFY_TOKEN = "verify-token-of-the-tests"
TENANT = "t1"
PATIENCE_SECONDS = 15.0


def settings_for(database_url: str, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "database_url": SecretStr(database_url),
            "jwt_secret": SecretStr(JWT_SECRET),
            "whatsapp_app_secret": SecretStr(APP_SECRET),
            "whatsapp_verify_token": SecretStr(VERIFY_TOKEN),
            "port": 0,
            "allowed_origins": "https://app.example",
            **more,
        }
    )


def token(user: str = "u1", tenant: str = TENANT, role: str = "agent", ttl: int = 600) -> str:
    return mint(JWT_SECRET, tenant_id=tenant, user_id=user, role=role, ttl_seconds=ttl)


def create_inbox(
    database_url: str,
    tenant: str = TENANT,
    number: str = NUMBER,
    secret: str | None = None,
    *,
    provider: str = "whatsapp_cloud",
    api_key: str | None = None,
) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set role chatsync_worker")
        connection.execute("select chatsync.create_tenant(%s)", [tenant])
        row = connection.execute(
            "select chatsync.create_inbox(%s, %s, %s, p_app_secret => %s, p_api_key => %s)",
            [tenant, provider, number, secret, api_key],
        ).fetchone()
        assert row is not None
        return int(row[0])


@dataclass
class Client:
    """An agent's WebSocket. Keeps the frames that a test has not asked for yet."""

    socket: ClientConnection
    seen: list[Frame] = field(default_factory=list[Frame])

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self, *kinds: str) -> Frame:
        """The next frame of one of the kinds; pings are answered, others are kept in `seen`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["type"] == "ping" and "ping" not in kinds:
                    await self.send(type="pong", n=frame["n"], cursor=frame["cursor"])
                    continue
                if frame["type"] in kinds or not kinds:
                    return frame
                self.seen.append(frame)

    async def events(self, count: int) -> list[Frame]:
        """The next `count` events, from as many frames as they come in."""
        found: list[Frame] = []
        while len(found) < count:
            found += (await self.next("events"))["events"]
        return found

    async def events_until(self, content: str) -> list[Frame]:
        """All events up to a message; how many depends on what came in one batch with it."""
        found: list[Frame] = []
        while True:
            for event in await self.events(1):
                found.append(event)
                is_message = event["type"] == "message:new"
                if is_message and event["data"]["message"]["content"] == content:
                    return found

    async def until_said(self, content: str) -> None:
        """Waits for a message and for the news of its conversation, which comes after it."""
        awaited = "message:new"
        while awaited:
            for event in await self.events(1):
                if event["type"] != awaited:
                    continue
                if awaited == "conversation:updated":
                    awaited = ""
                elif event["data"]["message"]["content"] == content:
                    awaited = "conversation:updated"

    async def closed(self) -> tuple[int, Frame]:
        """The close code, and the `closing` frame that came before it."""
        closing = await self.next("closing")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code, closing


@dataclass
class Gateway:
    """Where a gateway listens, and what tests ask of it."""

    address: str
    http: httpx2.AsyncClient
    hub: Hub
    server: uvicorn.Server

    @property
    def feed(self) -> Feed:
        return cast(Starlette, self.server.config.app).state.feed

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def ws(self) -> str:
        return self.address.replace("http", "ws", 1) + "/ws"

    @asynccontextmanager
    async def raw(self, **options: Any) -> AsyncGenerator[Client]:
        """A socket that has not sent its first frame."""
        async with connect(self.ws, close_timeout=2, **options) as socket:
            yield Client(socket)

    @asynccontextmanager
    async def session(self, jwt: str | None = None, **hello: Any) -> AsyncGenerator[Client]:
        """A connected session; its `connected` frame is the first of `seen`."""
        async with self.raw() as client:
            await client.send(type="connect", token=jwt or token(), **hello)
            client.seen.append(await client.next("connected"))
            yield client

    async def post(self, body: Frame | bytes, secret: str | None = APP_SECRET) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if secret is None else {"X-Hub-Signature-256": sign(raw, secret)}
        return await self.http.post("/webhooks/whatsapp", content=raw, headers=headers)

    async def get(self, path: str, jwt: str | None = None, **query: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {jwt or token()}"}
        return await self.http.get(path, headers=headers, params=query)

    async def until_ready(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    if (await self.http.get("/readyz")).status_code == 200:
                        return
                except httpx2.HTTPError:
                    pass
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running_gateway(
    settings: Settings, *, with_worker: bool = True
) -> AsyncGenerator[Gateway]:
    """A gateway, and a worker unless the test says otherwise, in this process."""
    listener = bind(settings)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    application = create(settings, with_worker=with_worker)
    server = uvicorn.Server(configuration(application, settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as http:
            gateway = Gateway(address, http, application.state.hub, server)
            await gateway.until_ready()
            yield gateway
    finally:
        server.should_exit = True
        done, _ = await asyncio.wait({serving}, timeout=PATIENCE_SECONDS)
        if not done:
            for task in asyncio.all_tasks():
                task.print_stack()
            raise AssertionError("the gateway did not end")
        serving.result()


@dataclass
class Process:
    """A chatsync command in a process of its own, to be killed."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        return self.popen.wait(timeout=PATIENCE_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    *arguments: str, database_url: str, log: Path, **environment: str
) -> Generator[Process]:
    """`chatsync ARGUMENTS` against the test's database; killed at the end if it still lives."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "chatsync", *arguments],
            env={
                **os.environ,
                "CHATSYNC_DATABASE_URL": database_url,
                "CHATSYNC_JWT_SECRET": JWT_SECRET,
                "CHATSYNC_WHATSAPP_APP_SECRET": APP_SECRET,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Process(popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait(timeout=PATIENCE_SECONDS)


def wait_for(check: Any, what: str) -> Any:
    """Ask a blocking question until its answer is true; for states that send no signal."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {PATIENCE_SECONDS} s")

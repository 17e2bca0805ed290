"""Runs a gateway under uvicorn, and sends sessions away before uvicorn cuts their sockets.

uvicorn closes all sockets at once when a signal comes. Here the signal first drains the hub, each
session with a retry window of its own, and reaches uvicorn afterwards.
"""

import asyncio
import os
import signal
import socket
import tempfile
import threading
from types import FrameType
from typing import Any

import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from chatsync.errors import ConfigError
from chatsync.gateway.http_head import HEAD_BYTES, HttpHead
from chatsync.gateway.hub import Hub
from chatsync.gateway.wire import Wire
from chatsync.settings import Settings

log = structlog.stdlib.get_logger(__name__)


def drain_on_signals(hub: Hub, drain_seconds: float) -> None:
    """Put a drain before what SIGTERM and SIGINT do now. A second signal does not wait for it."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    def put_before(number: int) -> None:
        then = signal.getsignal(number)
        if not callable(then):
            return

        async def drain() -> None:
            hub.drain()
            try:
                async with asyncio.timeout(drain_seconds):
                    while len(hub) > 0:  # noqa: ASYNC110 - the hub has no clock and no events
                        await asyncio.sleep(0.02)
            except TimeoutError:
                log.warning("drain_cut_short", sessions=len(hub))
            then(number, None)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if draining:
                then(number, frame)
            else:
                loop.call_soon_threadsafe(lambda: draining.append(loop.create_task(drain())))

        signal.signal(number, on_signal)

    put_before(signal.SIGTERM)
    put_before(signal.SIGINT)


def configuration(application: Any, settings: Settings, **more: Any) -> uvicorn.Config:
    """How uvicorn runs a gateway: no log of its own, bounded frames, no pings below ours."""
    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        http=HttpHead,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws=Wire,
        ws_max_size=settings.frame_bytes,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=3,
        **more,
    )


def bind(settings: Settings) -> socket.socket:
    """Take the port now, so that a refusal is one sentence. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from error
    listener.set_inheritable(True)
    return listener


def serve(settings: Settings, workers: int) -> None:
    """Run gateway processes on one port until a signal ends them."""
    listener = bind(settings)
    create = "chatsync.gateway.app:create"
    if workers == 1:
        uvicorn.Server(configuration(create, settings, factory=True)).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="chatsync-metrics-") as folder:
        # prometheus_client wants its own name; our settings hand the folder to /metrics.
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": folder, "CHATSYNC_METRICS_DIR": folder}
        config = configuration(create, settings, factory=True, workers=workers)
        supervisor = Multiprocess(config, sockets=[listener])
        _pass_on(signal.SIGUSR1, supervisor)
        supervisor.run()


def _pass_on(number: int, supervisor: Multiprocess) -> None:
    """Have the worker processes get a signal that uvicorn's supervisor does not know."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        for process in supervisor.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, number)

    signal.signal(number, on_signal)

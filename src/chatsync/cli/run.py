"""Commands that stay: dev, serve, work."""

import asyncio
import os

import click
from uvicorn.loops.auto import auto_loop_factory

from chatsync.cli.context import from_environment, prepare, require_migrated, settings_here
from chatsync.dev import server as dev_server
from chatsync.gateway import server as gateway_server
from chatsync.queue.service import worker_process
from chatsync.supervision import until_signal


@click.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8080).")
def dev(host: str | None, port: int | None) -> None:
    """Run everything on this machine, with an embedded PostgreSQL and a demo tenant."""
    settings = from_environment(host=host, port=port, log_format="console")
    prepare(settings)
    dev_server.run(settings)


@click.command()
@click.option("--workers", default=1, type=click.IntRange(1, 64), help="Processes on the port (1).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8080).")
def serve(workers: int, host: str | None, port: int | None) -> None:
    """Run the gateway: webhooks, WebSockets, HTTP."""
    settings = settings_here(host=host, port=port)
    prepare(settings)
    require_migrated(settings)
    # uvicorn's processes read their settings from the environment.
    os.environ |= {
        "CHATSYNC_DATABASE_URL": settings.require_database_url(),
        "CHATSYNC_HOST": settings.host,
        "CHATSYNC_PORT": str(settings.port),
    }
    if settings.jwt_secret is not None:
        os.environ["CHATSYNC_JWT_SECRET"] = settings.jwt_secret.get_secret_value()
    gateway_server.serve(settings, workers)


@click.command()
def work() -> None:
    """Run a queue worker."""
    settings = settings_here()
    prepare(settings)
    require_migrated(settings)
    # The event loop that a gateway has, too: a faster one where it is installed.
    with asyncio.Runner(loop_factory=auto_loop_factory(use_subprocess=False)) as runner:
        runner.run(until_signal(worker_process(settings)))

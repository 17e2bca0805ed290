"""Presence when a gateway dies or leaves, and when PostgreSQL crashes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import psycopg
import pytest

from chatsync.dev.embedded import EmbeddedPostgres
from service.harness import (
    Gateway,
    free_port,
    process,
    running_gateway,
    settings_for,
    token,
    wait_for,
)
from service.presence import QUICK, WATCHER, is_open, rows, watching


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    async with running_gateway(settings_for(database_url, **QUICK)) as running:
        yield running


async def test_users_of_a_killed_gateway_are_offline_in_time(
    gateway: Gateway, database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "CHATSYNC_PORT": str(port),
        "CHATSYNC_PRESENCE_CLEANUP_INTERVAL_MS": "2000",
    }
    with process("serve", database_url=database_url, log=tmp_path / "log", **environment) as doomed:
        async with gateway.session(WATCHER, topics=["presence"]) as it:
            watch = await watching(it)
            there = Gateway(f"http://127.0.0.1:{port}", gateway.http, gateway.hub, gateway.server)
            await asyncio.to_thread(wait_for, lambda: is_open(port), "listening")
            async with there.session(token("ana")), gateway.session(token("bo")):
                await watch.until(ana="online", bo="online")
                doomed.kill()
                killed_at = time.monotonic()
                await watch.until(bo="online")
                assert time.monotonic() - killed_at < 2.5


async def test_a_gateway_that_ends_in_good_order_leaves_its_users_time_to_come_back(
    gateway: Gateway, database_url: str
) -> None:
    async with gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        settings = settings_for(database_url, **QUICK)
        async with running_gateway(settings) as leaving, leaving.session(token("ana")):
            await watch.until(ana="online")
        async with gateway.session(token("ana")), gateway.session(token("bo")):
            await watch.until(ana="online", bo="online")
    assert ("ana", "offline", 0) not in watch.told


async def test_presence_survives_a_crash_of_postgresql(server: EmbeddedPostgres) -> None:
    settings = settings_for(server.url, presence_cleanup_interval_ms=10_000)
    async with (
        running_gateway(settings) as one,
        running_gateway(settings) as two,
        one.session(token("ana")),
        two.session(token("bo")),
        one.session(WATCHER, topics=["presence"]) as it,
    ):
        watch = await watching(it)
        await watch.until(ana="online", bo="online")
        await asyncio.to_thread(server.restart, immediate=True)
        with psycopg.connect(server.url, autocommit=True) as look:
            look.execute("set role chatsync_owner")
            expected = {("ana", "online", 1), ("bo", "online", 1)}
            await asyncio.to_thread(wait_for, lambda: rows(look) == expected, "all written again")
        await one.until_ready()
        await two.until_ready()
        async with two.session(token("cy")):
            await watch.until(ana="online", bo="online", cy="online")
    assert [told for told in watch.told if told[1] == "offline"] == []

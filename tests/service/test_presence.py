"""Presence as clients see it: the list, tabs, reloads, several gateways, other tenants."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from conftest import SyncConnection
from service.harness import Gateway, create_inbox, running_gateway, settings_for, token, wait_for
from service.presence import QUICK, WATCHER, leases, rows, versions, watching


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    async with running_gateway(settings_for(database_url, **QUICK)) as running:
        yield running


@pytest.fixture
async def other(gateway: Gateway, database_url: str) -> AsyncGenerator[Gateway]:
    """A second gateway on the same database."""
    assert gateway
    async with running_gateway(settings_for(database_url, **QUICK)) as running:
        yield running


async def test_the_full_list_comes_first_and_differences_after(gateway: Gateway) -> None:
    async with gateway.session(token("ana")), gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        assert watch.users["ana"]["sessions"] == 1
        assert watch.users["ana"]["lastSeenAt"].endswith("Z")
        async with gateway.session(token("bo")) as bo:
            await watch.until(ana="online", bo="online")
            await bo.send(type="presence", status="busy", id=1)
            assert (await bo.next("reply"))["id"] == 1
            await watch.until(ana="online", bo="busy")
        await watch.until(ana="online")

    assert watch.told == [("bo", "online", 1), ("bo", "busy", 1), ("bo", "offline", 0)]


async def test_subscribing_later_brings_the_list_after_the_reply(gateway: Gateway) -> None:
    async with gateway.session(token("ana")) as ana:
        await ana.send(type="subscribe", topics=["presence"], id=7)
        reply = await ana.next("reply")
        assert reply["data"]["topics"] == ["presence:t1"]
        assert [frame["type"] for frame in ana.seen] == ["connected"]
        watch = await watching(ana)
        assert list(watch.users) == ["ana"]
        await ana.send(type="unsubscribe", topics=["presence"], id=8)
        await ana.next("reply")
        async with gateway.session(token("bo")):
            users = (await gateway.get("/api/presence")).json()["users"]
            assert sorted(user["userId"] for user in users) in (["ana"], ["ana", "bo"])
            await ana.send(type="ping", n=1)
            await ana.next("pong")
    assert [frame["type"] for frame in ana.seen] == ["connected"]


async def test_tabs_are_one_user_and_the_most_available_counts(
    gateway: Gateway, other: Gateway
) -> None:
    async with gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        async with gateway.session(token("ana")) as here, other.session(token("ana")) as there:
            await watch.until(ana="online")
            while watch.users["ana"]["sessions"] < 2:
                await watch.next()
            await here.send(type="presence", status="away")
            await there.send(type="presence", status="busy")
            await watch.until(ana="busy")
            await there.send(type="presence", status="away")
            await watch.until(ana="away")
            await here.send(type="presence", status="online")
            await watch.until(ana="online")
        await watch.until()


async def test_a_reload_is_told_to_nobody_and_written_by_nobody(
    database_url: str, inbox_id: int, owner: SyncConnection
) -> None:
    assert inbox_id
    async with (
        running_gateway(settings_for(database_url)) as patient,
        patient.session(WATCHER, topics=["presence"]) as it,
    ):
        watch = await watching(it)
        async with patient.session(token("ana")) as ana:
            await ana.send(type="presence", status="busy")
            await watch.until(ana="busy")
            busy = {("ana", "busy", 1)}
            await asyncio.to_thread(wait_for, lambda: rows(owner) == busy, "the row")
            written = versions(owner)
        watch.told.clear()
        for _ in range(3):
            async with patient.session(token("ana")):
                pass
        async with patient.session(token("bo")):
            await watch.until(ana="busy", bo="online")
            await asyncio.to_thread(wait_for, lambda: len(rows(owner)) == 2, "the other row")
            assert versions(owner)[:1] == written
    assert watch.told == [("bo", "online", 1)]


async def test_nothing_is_written_while_nothing_changes(
    gateway: Gateway, owner: SyncConnection
) -> None:
    async with gateway.session(token("ana"), topics=["presence"]) as ana:
        await (await watching(ana)).until(ana="online")
        await asyncio.to_thread(wait_for, lambda: rows(owner), "the row")
        before, lease = versions(owner), leases(owner)
        # Some beats, which write the lease and nothing else.
        for _ in range(3):
            await asyncio.to_thread(wait_for, lambda was=lease: leases(owner) != was, "a beat")
            lease = leases(owner)
        await ana.send(type="presence", status="online")
        await asyncio.to_thread(wait_for, lambda was=lease: leases(owner) != was, "a beat")
        assert versions(owner) == before


async def test_service_sessions_are_not_online_and_watch_all_the_same(gateway: Gateway) -> None:
    async with gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        await it.send(type="presence", status="busy", id=1)
        await it.next("reply")
    assert watch.users == {}


async def test_other_tenants_are_neither_seen_nor_told(
    gateway: Gateway, other: Gateway, database_url: str
) -> None:
    create_inbox(database_url, "t2", "200")
    stranger = token("eve", tenant="t2")
    async with gateway.session(WATCHER, topics=["presence"]) as it:
        watch = await watching(it)
        async with gateway.session(stranger, topics=["presence", "presence:t1"]) as eve:
            assert eve.seen[0]["refused"] == ["presence:t1"]
            state = await eve.next("ephemeral")
            assert state["topic"] == "presence:t2"
            async with other.session(token("ana")):
                await watch.until(ana="online")
                answer = await other.get("/api/presence", stranger)
                assert [user["userId"] for user in answer.json()["users"]] == ["eve"]
    assert {user for user, _, _ in watch.told} == {"ana"}


async def test_a_list_and_what_changes_meanwhile_leave_no_hole(
    gateway: Gateway, other: Gateway
) -> None:
    """Many come and go while many subscribe: in the end every list is the same."""

    async def come(name: str, where: Gateway, *, stays: asyncio.Event) -> None:
        async with where.session(token(name)):
            await stays.wait()

    stays = asyncio.Event()
    coming = [
        asyncio.create_task(come(f"u{n}", (gateway, other)[n % 2], stays=stays)) for n in range(60)
    ]
    async with (
        gateway.session(WATCHER, topics=["presence"]) as one,
        other.session(WATCHER, topics=["presence"]) as two,
        gateway.session(WATCHER) as three,
    ):
        await three.send(type="subscribe", topics=["presence"])
        watches = [await watching(it) for it in (one, two, three)]
        expected = {f"u{n}": "online" for n in range(60)}
        await asyncio.gather(*(watch.until(**expected) for watch in watches))
        stays.set()
        await asyncio.gather(*coming)
        await asyncio.gather(*(watch.until() for watch in watches))

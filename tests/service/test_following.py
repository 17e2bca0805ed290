"""A gateway gives out what it stamps itself, and reads from the log only what others stamped."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from conftest import Connections, SyncConnection
from service.harness import Client, Gateway, create_inbox, running_gateway, settings_for
from service.streams import until
from sql.log_calls import publish

# So rare that whatever arrives in a test was rung for.
NEVER_MS = 60_000


@pytest.fixture
def foreign(
    database_url: str, connections: Connections, owner: SyncConnection
) -> Generator[SyncConnection]:
    """A connection as of any other program: it publishes, and PostgreSQL rings for it."""
    create_inbox(database_url)
    create_inbox(database_url, tenant="t2", number="200")
    connection = connections.open("chatsync_worker")
    connection.execute("reset chatsync.doorbell")
    yield connection
    assert owner


@asynccontextmanager
async def gateway_of(url: str) -> AsyncGenerator[Gateway]:
    settings = settings_for(url, poll_interval_ms=NEVER_MS)
    async with running_gateway(settings, with_worker=False) as gateway:
        yield gateway


def reads(reason: str = "wake") -> float:
    return REGISTRY.get_sample_value("chatsync_feed_reads_total", {"reason": reason}) or 0.0


async def labels(client: Client, count: int) -> list[tuple[int, Any]]:
    return [(event["seq"], event["data"]["label"]) for event in await client.events(count)]


async def test_what_a_gateway_stamps_itself_it_does_not_read(
    database_url: str, foreign: SyncConnection
) -> None:
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        # What the first look at everything found was read.
        publish(foreign, "t1", "first")
        assert await labels(agent, 1) == [(1, "first")]
        before = reads()
        for number in range(2, 30):
            publish(foreign, "t1", number)
            publish(foreign, "t2", "of another")
            assert await labels(agent, 1) == [(number, number)]
        assert reads() == before


async def test_gateways_that_stamp_in_turns_leave_no_gap(
    database_url: str, foreign: SyncConnection
) -> None:
    """Each takes what it stamped, and reads what the other one did, as it was rung."""
    async with (
        gateway_of(database_url) as one,
        gateway_of(database_url) as other,
        one.session() as first,
        other.session() as second,
    ):
        for number in range(200):
            publish(foreign, "t1", number)
            await asyncio.sleep(0)
        expected = [(number + 1, number) for number in range(200)]
        assert await labels(first, 200) == expected
        assert await labels(second, 200) == expected


async def test_many_events_at_once_come_in_order_though_they_are_read(
    database_url: str, foreign: SyncConnection
) -> None:
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        with foreign.transaction():
            for number in range(500):
                publish(foreign, "t1", number)
        publish(foreign, "t1", "last")
        expected = [*((number + 1, number) for number in range(500)), (501, "last")]
        assert await labels(agent, 501) == expected


async def test_a_new_epoch_is_not_joined_to_the_old_one(
    database_url: str, foreign: SyncConnection, owner: SyncConnection
) -> None:
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        publish(foreign, "t1", 0)
        await labels(agent, 1)
        owner.execute("update chatsync.streams set epoch = repeat('e', 32)")
        owner.execute("update chatsync.stream_heads set head = 0")
        publish(foreign, "t1", 1)
        reset = await agent.next("reset")
        assert reset["reason"] == "epoch"


async def test_the_commit_of_a_stamp_that_fails_shows_nobody_anything(
    database_url: str, foreign: SyncConnection, owner: SyncConnection
) -> None:
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        # Refused at the very end, when all rows were told.
        owner.execute(
            "create function chatsync.refuse() returns trigger language plpgsql"
            " as $$ begin raise 'not now'; end $$"
        )
        owner.execute(
            "create constraint trigger refuses after update on chatsync.stream_heads"
            " deferrable initially deferred for each row execute function chatsync.refuse()"
        )
        with capture_logs() as logs:
            publish(foreign, "t1", 0)
            await until(
                lambda: any(line["event"] == "stamping_failed" for line in logs),
                "a stamp whose commit is refused",
            )
        owner.execute("drop trigger refuses on chatsync.stream_heads")
        publish(foreign, "t1", 1)
        assert await labels(agent, 2) == [(1, 0), (2, 1)]


def on_duty(owner: SyncConnection) -> list[int]:
    """The servers' processes that are."""
    rows = owner.execute(
        "select pid from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'"
        " and (classid::bigint << 32) | objid::bigint = chatsync.duty_lock()"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    return [pid for (pid,) in rows]  # pyright: ignore[reportReturnType]


class Load:
    """Foreign writers who commit as fast as they can, each event with a number of its own."""

    def __init__(self, connections: Connections) -> None:
        self._numbers = itertools.count()
        self._connections = [connections.open("chatsync_worker") for _ in range(3)]
        for connection in self._connections:
            connection.execute("reset chatsync.doorbell")

    async def until(self, is_enough: Callable[[], bool]) -> None:
        await asyncio.gather(
            *(asyncio.to_thread(self._write, each, is_enough) for each in self._connections)
        )

    async def some(self, count: int) -> None:
        left = itertools.count()
        await self.until(lambda: next(left) >= count)

    @property
    def published(self) -> int:
        """How many; asking uses a number up."""
        return next(self._numbers)

    def _write(self, connection: SyncConnection, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            publish(connection, "t1", next(self._numbers))


async def test_bursts_leave_nothing_behind_when_writers_fall_silent(
    database_url: str, foreign: SyncConnection, connections: Connections, owner: SyncConnection
) -> None:
    """Nobody polls: what no bell or look finds would stay in the outbox."""
    chance = random.Random(20261121)
    load = Load(connections)
    seen: list[tuple[int, Any]] = []
    was_on_duty = False
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        for _ in range(25):
            burst = chance.choice([1, 2, 30, 120])
            await load.some(burst)
            was_on_duty |= len(on_duty(owner)) == 1
            await asyncio.sleep(chance.choice([0, 0.01, 0.045, 0.05, 0.055, 0.1]))
            await load.some(3)
            seen += await labels(agent, burst + 3)
    assert was_on_duty
    assert [seq for seq, _ in seen] == list(range(1, len(seen) + 1))
    assert sorted(label for _, label in seen) == list(range(load.published))
    assert foreign


async def test_a_writer_that_was_silent_and_commits_when_the_duty_is_over_is_found(
    database_url: str, foreign: SyncConnection, connections: Connections, owner: SyncConnection
) -> None:
    load = Load(connections)
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        await load.until(lambda: len(on_duty(owner)) == 1)
        foreign.execute("begin")
        publish(foreign, "t1", "late")
        await until(lambda: not on_duty(owner), "the end of the duty")
        count = load.published
        assert len(await labels(agent, count)) == count
        # Others ring meanwhile, and are not kept waiting.
        publish(owner, "t1", "between")
        assert await labels(agent, 1) == [(count + 1, "between")]
        foreign.execute("commit")
        assert await labels(agent, 1) == [(count + 2, "late")]


async def test_a_stamper_that_loses_its_connection_on_duty_leaves_nothing_behind(
    database_url: str, foreign: SyncConnection, connections: Connections, owner: SyncConnection
) -> None:
    load = Load(connections)
    async with gateway_of(database_url) as gateway, gateway.session() as agent:
        await load.until(lambda: len(on_duty(owner)) == 1)
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", on_duty(owner))
        await load.some(30)
        await until(lambda: not on_duty(owner), "the end of the duty")
        publish(foreign, "t1", "last")
        count = load.published
        heard = await labels(agent, count + 1)
    assert [seq for seq, _ in heard] == list(range(1, count + 2))
    assert len({label for _, label in heard}) == count + 1

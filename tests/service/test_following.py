"""A gateway gives out what it stamps itself, and reads from the log only what others stamped."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

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


async def labels(client: Client, count: int) -> list[tuple[int, object]]:
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
        owner.execute("update chatsync.streams set epoch = repeat('e', 32), head = 0")
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
            "create constraint trigger refuses after update on chatsync.streams"
            " deferrable initially deferred for each row execute function chatsync.refuse()"
        )
        with capture_logs() as logs:
            publish(foreign, "t1", 0)
            await until(
                lambda: any(line["event"] == "stamping_failed" for line in logs),
                "a stamp whose commit is refused",
            )
        owner.execute("drop trigger refuses on chatsync.streams")
        publish(foreign, "t1", 1)
        assert await labels(agent, 2) == [(1, 0), (2, 1)]

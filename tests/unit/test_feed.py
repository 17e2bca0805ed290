"""A tenant's feed finds its place in the log, whoever came and went meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from chatsync.database import Database, Row
from chatsync.events.doorbell import Doorbell
from chatsync.events.feed import Feed


class SlowDatabase:
    """Stands where the database does: each look at where the log stands waits for its gate."""

    def __init__(self) -> None:
        self.gates: list[asyncio.Event] = []
        self.asked = asyncio.Event()

    def link(self, _: float) -> None: ...

    def subscribe(self, _: object) -> None: ...

    @asynccontextmanager
    async def transaction(self, *_: object, **__: object) -> AsyncGenerator["SlowDatabase"]:
        yield self

    async def execute(self, *_: object) -> "SlowDatabase":
        gate = asyncio.Event()
        self.gates.append(gate)
        self.asked.set()
        await gate.wait()
        return self

    async def fetchall(self) -> list[Row]:
        return [("t1", "e1", 7, 0)]

    async def wait_until_asked(self, times: int) -> None:
        while len(self.gates) < times:
            self.asked.clear()
            await self.asked.wait()


def feed_of(database: SlowDatabase) -> Feed:
    return Feed(
        cast(Database, database),
        cast(Doorbell, database),
        ring_events=10,
        poll_seconds=60.0,
        on_advance=lambda _: None,
    )


async def test_who_comes_while_the_look_of_who_went_goes_on_looks_for_themselves() -> None:
    database = SlowDatabase()
    feed = feed_of(database)
    async with asyncio.timeout(5):
        gone = asyncio.create_task(feed.attach("t1"))
        await database.wait_until_asked(1)
        gone.cancel()
        await asyncio.wait({gone})
        coming = asyncio.create_task(feed.attach("t1"))
        await asyncio.sleep(0)
        database.gates[0].set()
        await database.wait_until_asked(2)
        database.gates[1].set()
        tenant = await coming
    assert str(tenant.cursor) == "e1.7"
    assert feed.find("t1") is tenant


async def test_who_comes_while_a_place_is_looked_up_for_who_went_looks_for_themselves() -> None:
    database = SlowDatabase()
    feed = feed_of(database)
    async with asyncio.timeout(5):
        attaching = asyncio.create_task(feed.attach("t1"))
        await database.wait_until_asked(1)
        database.gates[0].set()
        before = await attaching
        locating = asyncio.create_task(feed.refresh(before))
        await database.wait_until_asked(2)
        feed.detach(before)
        coming = asyncio.create_task(feed.attach("t1"))
        await database.wait_until_asked(3)
        database.gates[2].set()
        assert str((await coming).cursor) == "e1.7"
        locating.cancel()


async def test_those_who_come_at_once_look_once() -> None:
    database = SlowDatabase()
    feed = feed_of(database)
    async with asyncio.timeout(5):
        coming = [asyncio.create_task(feed.attach("t1")) for _ in range(3)]
        await database.wait_until_asked(1)
        database.gates[0].set()
        tenants = await asyncio.gather(*coming)
    assert len({id(tenant) for tenant in tenants}) == 1
    assert len(database.gates) == 1

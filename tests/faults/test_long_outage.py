"""A database that was away for long is used again as soon as it is back."""

import time

from chatsync.database import Database
from chatsync.errors import DatabaseUnavailable
from conftest import SyncConnection
from faults.before_database import dial_to, through
from faults.proxy import Ends, proxy_to

# Of what doubles from a second on, the next try would be at 15 seconds.
AWAY_SECONDS = 8.0
BACK_SECONDS = 4.0


async def test_a_pool_is_back_within_seconds_however_long_the_database_was_away(
    database_url: str, owner: SyncConnection
) -> None:
    reach = dial_to(database_url)
    is_away = False

    async def dial() -> Ends:
        if is_away:
            raise ConnectionRefusedError
        return await reach()

    async with proxy_to(dial) as proxy:
        database = Database(through(database_url, proxy), "chatsync_worker", size=2)
        await database.open()
        try:
            assert await database.fetch_value("select 1") == 1
            is_away = True
            for wire in proxy.wires:
                wire.reset()
            began = time.monotonic()
            failures = 0
            while time.monotonic() < began + AWAY_SECONDS:
                try:
                    await database.fetch_value("select 1")
                except DatabaseUnavailable:
                    failures += 1
            assert failures > 0
            is_away = False
            back_at = time.monotonic()
            while await value_or_none(database) is None:
                assert time.monotonic() < back_at + BACK_SECONDS
        finally:
            await database.close()
    assert time.monotonic() < back_at + BACK_SECONDS


async def value_or_none(database: Database) -> int | None:
    try:
        return await database.fetch_value("select 1")
    except DatabaseUnavailable:
        return None

"""What a worker does beside its work, on a real database."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from chatsync.database import Database
from chatsync.events.doorbell import Doorbell
from chatsync.providers.inbound import Notice, Status
from chatsync.queue.upkeep import Upkeep
from chatsync.supervision import end
from conftest import SyncConnection
from sql.queue_calls import count, value
from sql.story import Story, at, echoed


@asynccontextmanager
async def upkeep(url: str) -> AsyncGenerator[None]:
    database = Database(url, "chatsync_worker", size=2)
    await database.open()
    running = asyncio.create_task(
        Upkeep(database, Doorbell(url, "chatsync_worker"), retention_days=7).run()
    )
    try:
        yield
    finally:
        await end(running)
        await database.close()


async def until(connection: SyncConnection, query: str) -> None:
    """Wait for the database to say true."""
    for _ in range(500):
        if value(connection, query):  # pyright: ignore[reportArgumentType]
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it never became true: {query}")


async def test_a_worker_joins_forgets_and_keeps_days(
    worker: SyncConnection, owner: SyncConnection, tenant: str, database_url: str
) -> None:
    assert tenant
    story = Story(worker)
    story.tell(Status("e", "READ", at(0)), Notice("n", "account", "old", at(0)))
    owner.execute("create temporary table kept as select * from chatsync.orphans")
    owner.execute("delete from chatsync.orphans")
    story.tell(echoed("e"))
    owner.execute("insert into chatsync.orphans select * from kept")
    owner.execute("update chatsync.inbox_notices set received_at = now() - interval '91 days'")
    owner.execute(
        "do $$ begin execute 'drop table chatsync.processed_items_'"
        " || to_char(now() at time zone 'UTC', 'YYYYMMDD'); end $$"
    )

    async with upkeep(database_url):
        await until(owner, "select status = 'READ' from chatsync.messages")
        await until(owner, "select count(*) = 0 from chatsync.inbox_notices")
    assert count(owner, "orphans") == 0
    assert value(
        owner,
        "select to_regclass('chatsync.processed_items_'"
        " || to_char(now() at time zone 'UTC', 'YYYYMMDD')) is not null",
    )


async def test_a_new_worker_gives_the_planner_statistics_at_once(
    owner: SyncConnection, tenant: str, database_url: str
) -> None:
    assert tenant
    async with upkeep(database_url):
        for rows in (3000, 30000):
            owner.execute(
                "insert into chatsync.contacts (tenant_id, name)"
                " select 't1', 'n' || n from generate_series(1, %s) as n",
                [rows],
            )
            await until(
                owner,
                "select reltuples = (select count(*) from chatsync.contacts) from pg_class"
                " where oid = 'chatsync.contacts'::regclass",
            )


async def test_a_worker_lets_dead_letters_expire_until_none_is_left_that_should(
    owner: SyncConnection, tenant: str, database_url: str
) -> None:
    owner.execute(
        "insert into chatsync.failed_messages"
        " (queue, tenant_id, correlation_id, message_type, error_message, failed_at)"
        " select 'inbound', %s, 'c', 'x', 'x', now() - interval '91 days'"
        " from generate_series(1, 1500)"
        " union all select 'inbound', %s, 'c', 'x', 'x', now()",
        [tenant, tenant],
    )
    async with upkeep(database_url):
        await until(owner, "select count(*) = 1 from chatsync.failed_messages")


async def test_a_worker_keeps_and_drops_the_days_of_attempts_and_of_the_archive(
    owner: SyncConnection, tenant: str, database_url: str
) -> None:
    assert tenant
    owner.execute("select set_config('chatsync.now', (now() - interval '30 days')::text, false)")
    owner.execute("select chatsync.prepare_partitions(0)")
    for table in ("failed_attempts", "message_archive"):
        owner.execute(
            f"do $$ begin execute 'drop table chatsync.{table}_'"
            " || to_char(now() at time zone 'UTC', 'YYYYMMDD'); end $$".encode()
        )
    places = (
        "select to_regclass('chatsync.{0}_' || to_char(now() at time zone 'UTC', 'YYYYMMDD'))"
        " is not null and to_regclass('chatsync.{0}_' || to_char("
        "(now() - interval '30 days') at time zone 'UTC', 'YYYYMMDD')) is null"
    )
    async with upkeep(database_url):
        await until(owner, places.format("failed_attempts"))
        await until(owner, places.format("message_archive"))

"""Between a worker and PostgreSQL: half-open links and lost answers leave no message behind."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from chatsync.queue import service
from chatsync.queue import worker as queue_worker
from chatsync.queue.service import worker_process
from conftest import Connections, SyncConnection
from faults.proxy import Proxy
from faults.test_between_gateway_and_database import behind_a_proxy
from service.harness import create_inbox, settings_for
from service.payloads import delivery, said
from service.streams import until
from sql.queue_calls import count

WORKER, LEASE = b"chatsync worker", b"chatsync lease"
CLAIM_SECONDS = 1.0


@pytest.fixture
def intake(
    database_url: str, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> "Intake":
    # So that a test need not wait for what is seldom needed.
    monkeypatch.setattr(queue_worker, "CLAIM_SECONDS", CLAIM_SECONDS)
    monkeypatch.setattr(service, "PATIENCE_SECONDS", 3.0)
    return Intake(connections.open("chatsync_worker"), create_inbox(database_url))


class Intake:
    """Puts deliveries in line beside the proxy, and rings as any other program does."""

    def __init__(self, connection: SyncConnection, inbox_id: int) -> None:
        self._connection = connection
        self._inbox_id = inbox_id
        self.given = 0

    def give(self) -> None:
        self.given += 1
        body = json.dumps(delivery(said("hi", f"w{self.given}"))).encode()
        self._connection.execute(
            "select chatsync.enqueue_deliveries(array[%s::bigint], array['c'], array[%s::bytea])",
            [self._inbox_id, body],
        )

    async def until_taken(self) -> None:
        """Until all that was given is stored, and nothing is left in line."""
        await until(lambda: count(self._connection, "messages") == self.given, "all messages")
        await until(lambda: count(self._connection, "message_queue") == 0, "an empty queue")


@asynccontextmanager
async def working_behind_a_proxy(url: str) -> AsyncGenerator[Proxy]:
    async with behind_a_proxy(url) as (proxy, through):
        settings = settings_for(through, poll_interval_ms=200)
        async with worker_process(settings) as workplace:
            await workplace.lease.worker_id()
            yield proxy


async def test_a_claim_whose_answer_is_lost_keeps_no_message(
    database_url: str, intake: Intake
) -> None:
    async with working_behind_a_proxy(database_url) as proxy:
        intake.give()
        await intake.until_taken()
        for _ in range(5):
            for wire in proxy.saying(WORKER):
                wire.cut()
            intake.give()
            await intake.until_taken()


async def test_half_open_links_of_a_worker_stop_nothing(database_url: str, intake: Intake) -> None:
    async with working_behind_a_proxy(database_url) as proxy:
        intake.give()
        await intake.until_taken()
        for wire in proxy.saying(WORKER):
            wire.freeze()
        intake.give()
        await intake.until_taken()


async def test_a_half_open_lease_is_replaced_by_another_one(
    database_url: str, intake: Intake
) -> None:
    async with working_behind_a_proxy(database_url) as proxy:
        (wire,) = proxy.saying(LEASE)
        wire.freeze()
        await until(lambda: len(proxy.saying(LEASE)) == 2, "another lease")
        intake.give()
        await intake.until_taken()


async def test_a_worker_with_half_open_links_ends_in_time(
    database_url: str, intake: Intake
) -> None:
    async with asyncio.timeout(30), working_behind_a_proxy(database_url) as proxy:
        intake.give()
        await intake.until_taken()
        for wire in proxy.wires:
            wire.freeze()


async def test_the_kernel_looks_after_every_link(database_url: str) -> None:
    async with behind_a_proxy(database_url) as (_, through):
        settings = settings_for(through)
        async with worker_process(settings) as workplace:
            async with workplace.database.connection() as connection:
                told = connection.info.get_parameters()
            link = workplace.database.link()
            async with link.connection() as connection:
                also = connection.info.get_parameters()
            await link.close()
    for parameters in (told, also):
        assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == ("10", "25000")

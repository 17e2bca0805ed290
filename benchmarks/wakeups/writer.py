"""A process that enqueues as fast as it can, one message in a transaction, until it is stopped.

    writer.py NUMBER TASKS

SIGUSR1 changes how waiting workers are woken: not at all, then after the commit, as chatsync does,
then by the trigger of foreign writers, inside the transaction, and so on. Says "ready" when it
writes.
"""

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from chatsync import settings as settings_module
from chatsync.database import Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.queue.service import enqueuing
from chatsync.settings import Settings
from chatsync.worker import NewMessage
from chatsync.worker.producer import Producer

KEYS = 100  # of each task, so that no two writers meet in a lane
WARM_UP = 50
PAYLOAD = {"text": "so many words as a person writes who has a question about an order " * 4}


class SilentDoorbell(Doorbell):
    """Rings for nobody, all else being equal."""

    def ring(self, hint: Hint) -> None:
        pass

    def takes_lead(self, still_seconds: float = 0) -> bool:
        return False


class Writer:
    """Writes in one way after the other."""

    def __init__(self, producers: list[Producer]) -> None:
        self._producers = itertools.cycle(producers)
        self.change()

    def change(self) -> None:
        self._producer = next(self._producers)

    async def write(self, name: str) -> None:
        for count in itertools.count(1):
            key = f"{name}-{count % KEYS}"
            await self._producer.enqueue_many(
                [NewMessage(queue="work", tenant_id="t1", payload=PAYLOAD, ordering_key=key)]
            )
            if count == WARM_UP:
                print("ready", flush=True)


async def main(number: int, tasks: int) -> None:
    settings = settings_module.load(pool_size=max(2, tasks), log_level="warning")
    silent = SilentDoorbell(settings.require_database_url(), "chatsync_worker")
    async with (
        enqueuing(settings) as (database, doorbell),
        ringing_inside(settings, tasks) as trigger,
    ):
        ways = [(database, silent), (database, doorbell), (trigger, silent)]
        writer = Writer([Producer(ours, bell, max_retries=5) for ours, bell in ways])
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, writer.change)
        async with asyncio.TaskGroup() as group:
            for task in range(tasks):
                group.create_task(writer.write(f"{number}-{task}"))


@asynccontextmanager
async def ringing_inside(settings: Settings, size: int) -> AsyncGenerator[Database]:
    """A pool whose connections ring as psql does."""
    url = settings.require_database_url()
    database = Database(url, "chatsync_worker", size=size, name="chatsync producer")
    await database.open()
    try:
        async with AsyncExitStack() as stack:
            for _ in range(size):
                connection = await stack.enter_async_context(database.connection())
                await connection.execute("set chatsync.doorbell = 'on'")
        yield database
    finally:
        await database.close()


async def until_stopped() -> None:
    task = asyncio.ensure_future(main(int(sys.argv[1]), int(sys.argv[2])))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    asyncio.run(until_stopped())

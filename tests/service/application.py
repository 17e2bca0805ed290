"""An application on a client: takes items in a task of its own, and can be asked what it saw."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from chatsync.client import Client, Entry, Event, Pace, Snapshot, SnapshotNeeded
from service.harness import PATIENCE_SECONDS, token

T = TypeVar("T")

# At once, every time: tests are alone with their gateway.
PACE = Pace(uniform=lambda least, most: least, acknowledge_seconds=0.02)


class Application:
    """Keeps what it was told; takes a snapshot whenever it has to, unless it is told not to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.items: list[Entry] = []
        self.snapshots: list[Snapshot] = []
        self.takes_snapshots = True
        self.error: Exception | None = None
        self._changed = asyncio.Condition()

    @property
    def events(self) -> list[Event]:
        return [item for item in self.items if isinstance(item, Event)]

    @property
    def numbers(self) -> list[int]:
        return [event.seq for event in self.events]

    def some(self, kind: type[T]) -> list[T]:
        return [item for item in self.items if isinstance(item, kind)]

    async def run(self) -> None:
        try:
            async for item in self.client.events():
                if isinstance(item, SnapshotNeeded) and self.takes_snapshots:
                    self.snapshots.append(await self.client.sync())
                await self._tell(item)
        except Exception as error:
            self.error = error
        await self._tell(None)

    async def _tell(self, item: Entry | None) -> None:
        async with self._changed:
            if item is not None:
                self.items.append(item)
            self._changed.notify_all()

    async def until(self, check: Callable[[], Any]) -> Any:
        """Wait until a question about what was told has an answer that is true."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(check)
        return check()

    async def until_some(self, kind: type[T], count: int = 1) -> list[T]:
        await self.until(lambda: len(self.some(kind)) >= count)
        return self.some(kind)

    async def ended(self) -> Exception:
        await self.until(lambda: self.error)
        assert self.error is not None
        return self.error


@asynccontextmanager
async def application(url: str, jwt: Any = None, **options: Any) -> AsyncGenerator[Application]:
    """A client with an application that has begun to listen."""
    options = {"pace": PACE, **options}
    async with Client(url, token() if jwt is None else jwt, **options) as client:
        it = Application(client)
        running = asyncio.create_task(it.run())
        try:
            yield it
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

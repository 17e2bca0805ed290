"""A stay on one connection: a task that reads, a task that writes and keeps the time."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import assert_never

from chatsync.client.connection import State
from chatsync.client.effects import Answer, Leave, Renew, Send
from chatsync.client.entries import Frame
from chatsync.client.ladder import Ladder
from chatsync.client.link import Link, LinkClosed
from chatsync.client.pace import Pace
from chatsync.client.protocol import Protocol
from chatsync.client.reconnect import Ending
from chatsync.client.tokens import Tokens

# For the reader to come to the end that the writer has met.
LAST_FRAMES_SECONDS = 1.0

log = logging.getLogger(__name__)


class Visit:
    """Carries out the protocol's effects; used for one connection after the other."""

    def __init__(
        self,
        protocol: Protocol,
        tokens: Tokens,
        pace: Pace,
        ladder: Ladder,
        on_frame: Callable[[Frame], None] | None,
        on_answer: Callable[[Answer], None],
    ) -> None:
        # The application waits for entries, the writer for something to do, the reader for room.
        self.arrived = asyncio.Event()
        self.woken = asyncio.Event()
        self.room = asyncio.Event()
        self._protocol = protocol
        self._tokens = tokens
        self._pace = pace
        self._ladder = ladder
        self._on_frame = on_frame
        self._on_answer = on_answer
        self._renewing: asyncio.Task[None] | None = None

    async def stay(self, link: Link) -> Ending:
        """Stay to the end; returns why it came. Raises LinkClosed, ProtocolViolation."""
        reading = asyncio.create_task(self._read(link))
        writing = asyncio.create_task(self._write(link))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and isinstance(writing.exception(), LinkClosed):
                # What was sent before the end, `closing` above all, is still to be read.
                await asyncio.wait({reading}, timeout=LAST_FRAMES_SECONDS)
        finally:
            tasks = [task for task in (reading, writing, self._renewing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._renewing = None
        for task in (reading, writing):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return Ending()

    def settle(self) -> None:
        """Hand out the answers that the end of a connection has brought."""
        for effect in self._protocol.effects():
            if isinstance(effect, Answer):
                self._on_answer(effect)

    async def _read(self, link: Link) -> None:
        async for frame in link.frames():
            self._hear(frame)
            if len(self._protocol.progress) >= self._pace.waiting_entries:
                await self._until_room()

    async def _until_room(self) -> None:
        """Stop to read until half of what waits is taken: the server keeps the rest."""
        self._protocol.pause()
        while len(self._protocol.progress) > self._pace.waiting_entries // 2:
            self.room.clear()
            await self.room.wait()
        self._protocol.listen(time.monotonic())

    def _hear(self, frame: Frame) -> None:
        if self._on_frame is not None:
            self._on_frame(frame)
        was_open = self._protocol.state is State.OPEN
        self._protocol.receive(frame, time.monotonic())
        if self._protocol.state is State.OPEN and not was_open:
            self._ladder.worked(time.monotonic())
        self.arrived.set()
        self.woken.set()

    async def _write(self, link: Link) -> None:
        """Write what there is to say and what the time demands, until it is time to leave."""
        while True:
            self.woken.clear()
            self._pass_time()
            for effect in self._protocol.effects():
                match effect:
                    case Send(frame):
                        answer = await link.send(frame)
                        if answer is not None:
                            self._hear(answer)
                    case Renew():
                        self._renewing = asyncio.create_task(self._renew())
                    case Answer():
                        self._on_answer(effect)
                    case Leave():
                        return
                    case _:
                        assert_never(effect)
            await self._until_due()

    def _pass_time(self) -> None:
        now = time.monotonic()
        if now >= self._ladder.climb_at:
            self._ladder.climb()
            self._protocol.leave(Ending(reason="a WebSocket may work again", is_planned=True))
        self._protocol.tick(now)

    async def _until_due(self) -> None:
        due_at = min(self._protocol.next_deadline(), self._ladder.climb_at)
        delay = None if math.isinf(due_at) else max(0.0, due_at - time.monotonic())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self.woken.wait()

    async def _renew(self) -> None:
        """A new token for the open session; without one it ends with 4300, and asks again."""
        if not self._tokens.is_renewable:
            return
        try:
            token = await self._tokens.renew()
        except Exception as error:
            log.warning("token_not_renewed: %r", error)
            return
        self._protocol.refresh(token)
        self.woken.set()

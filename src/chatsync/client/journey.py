"""One connection after the other, until the server wants no more: what a client does all day.

Decides by the close code what comes next; what happens on a connection is `visit.py`.
"""

import asyncio
import logging
import time
from collections.abc import Callable

import httpx2

from chatsync.client.connection import State
from chatsync.client.effects import Answer
from chatsync.client.entries import Disconnected, Frame, Transport
from chatsync.client.ladder import Ladder
from chatsync.client.link import LinkClosed
from chatsync.client.pace import Pace
from chatsync.client.protocol import Protocol
from chatsync.client.reconnect import VIOLATION, Backoff, Ending, Step, step_after
from chatsync.client.roads import Roads
from chatsync.client.tokens import Tokens
from chatsync.client.visit import Visit
from chatsync.errors import ConnectionLost, ProtocolViolation, SessionEnded, Unavailable

# A server that is not understood so often in a row is another kind of server.
MAX_VIOLATIONS = 5
SOON_SECONDS = 1.0

log = logging.getLogger(__name__)


class Journey:
    """The connections of one client. `failure` is why it is over, unless it was told to end."""

    def __init__(
        self,
        protocol: Protocol,
        tokens: Tokens,
        roads: Roads,
        pace: Pace,
        on_frame: Callable[[Frame], None] | None,
    ) -> None:
        self.failure: Exception | None = None
        self.is_over = False
        self._is_leaving = False
        self._protocol = protocol
        self._tokens = tokens
        self._roads = roads
        self._pace = pace
        self._ladder = Ladder(pace)
        self._backoff = Backoff(pace)
        self._visit = Visit(protocol, tokens, pace, self._ladder, on_frame, self._answered)
        self._answers: dict[int, asyncio.Future[Frame]] = {}
        self._violations = 0

    @property
    def transport(self) -> Transport:
        return self._ladder.transport

    async def run(self) -> None:
        """Never raises: the application hears of the end where it listens."""
        try:
            while not self._is_leaving:
                await self._connect()
        except Exception as error:
            self.failure = error
            log.info("client_stopped: %s", error)
        finally:
            self.is_over = True
            for future in self._answers.values():
                if not future.done():
                    future.set_exception(ConnectionLost("the client has ended"))
            self._visit.arrived.set()

    def goodbye(self) -> bool:
        """Leave in good order; false where there is nothing to leave."""
        if self._protocol.state is not State.OPEN:
            return False
        self._is_leaving = True
        self._protocol.goodbye()
        self.wake()
        return True

    def wake(self) -> None:
        """There may be something to send."""
        self._visit.woken.set()

    def took(self) -> None:
        """The application has taken an entry, and may have made room."""
        self._visit.room.set()
        self.wake()

    async def until_arrived(self) -> None:
        self._visit.arrived.clear()
        await self._visit.arrived.wait()

    async def request(self, frame: Frame, *, is_repeatable: bool) -> Frame:
        if self.is_over:
            raise self.failure or ConnectionLost("the client has ended")
        number = self._protocol.request(frame, time.monotonic(), is_repeatable=is_repeatable)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        self.wake()
        try:
            return await future
        finally:
            del self._answers[number]
            self._protocol.drop_request(number)

    def _answered(self, answer: Answer) -> None:
        future = self._answers.get(answer.number)
        if future is None or future.done():
            return
        if isinstance(answer.outcome, dict):
            future.set_result(answer.outcome)
        else:
            future.set_exception(answer.outcome)

    async def _connect(self) -> None:
        """Make one connection, stay to its end, and wait as it asks to."""
        transport = self._ladder.transport
        ending, is_unreachable = await self._travel(transport)
        ending = self._protocol.lost(ending, time.monotonic())
        self._visit.settle()
        if self._is_leaving:
            return
        self._judge(ending)
        seconds = self._wait_after(ending, is_unreachable=is_unreachable)
        log.info("client_disconnected: %s %s, %.1f s", ending.code, ending.reason, seconds)
        if ending.was_open and not ending.is_planned:
            self._protocol.progress.append(Disconnected(ending.code, ending.reason, seconds))
            self._visit.arrived.set()
        await asyncio.sleep(seconds)

    def _wait_after(self, ending: Ending, *, is_unreachable: bool) -> float:
        """Seconds until the next attempt. Raises SessionEnded when there is none left."""
        attempts = self._pace.max_attempts
        most = self._protocol.max_attempts if attempts is None else attempts
        seconds = self._backoff.wait(ending, most)
        if ending.was_open or ending.is_planned or is_unreachable or ending.code >= 4000:
            return seconds
        # Something answers, and may understand another transport: that is soon found out.
        is_hopeful = self._ladder.failed(time.monotonic())
        return self._pace.uniform(0.0, SOON_SECONDS) if is_hopeful else seconds

    async def _travel(self, transport: Transport) -> tuple[Ending, bool]:
        """Why the connection ended, and whether no transport would have done better."""
        try:
            token = await self._tokens.get()
        except (OSError, httpx2.TransportError, Unavailable) as error:
            return Ending(reason=f"no token: {error}"), True
        self._protocol.open(transport, token, time.monotonic())
        try:
            async with self._roads.open(transport, self._protocol, token) as link:
                return await self._visit.stay(link), False
        except LinkClosed as closed:
            return closed.ending, closed.is_unreachable
        except ProtocolViolation as error:
            return Ending(VIOLATION, error.message), False

    def _judge(self, ending: Ending) -> None:
        """Raise where there is no next step; get rid of what the next one must not use."""
        self._violations = self._violations + 1 if ending.code == VIOLATION else 0
        if self._violations >= MAX_VIOLATIONS:
            raise ProtocolViolation(ending.reason)
        step = step_after(ending.code)
        if step is Step.STOP:
            raise SessionEnded(f"{ending.code} {ending.reason}".strip(), ending.code)
        if step is Step.RENEW:
            self._tokens.expire()

"""The client of a gateway: `async with Client(url, token) as client`, then `client.events()`.

Drives `protocol.py` over the transport that works: all rules are there and in the parts it has.
One task reads, one writes; an application that does not take entries stops the reading.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from types import TracebackType
from typing import Self

import httpx2

from chatsync.client import snapshots
from chatsync.client.api import Api, address_of
from chatsync.client.commands import Commands
from chatsync.client.entries import Entry, Frame, Quality, Snapshot, Transport
from chatsync.client.journey import Journey
from chatsync.client.pace import Pace
from chatsync.client.protocol import Protocol
from chatsync.client.roads import Roads
from chatsync.client.tokens import Tokens, TokenSource
from chatsync.model import Cursor

GOODBYE_SECONDS = 5.0
DEFAULT_TOPICS = ("tenant", "user")


class Client(Commands):
    """One user's stream of events, over any number of connections.

    `url` is a gateway's address; `token` a JWT, or an async callable that returns one and is asked
    again whenever it expires. `cursor` resumes where a former client ended; `device` has the server
    remember it. `on_frame` sees every frame as it came. Raises BadCursor for a malformed cursor.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        *,
        topics: Sequence[str] = DEFAULT_TOPICS,
        cursor: str | None = None,
        device: str | None = None,
        pace: Pace | None = None,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        base, websocket = address_of(url)
        self._pace = pace or Pace()
        position = None if cursor is None else Cursor.parse(cursor)
        self._protocol = Protocol(topics, self._pace, cursor=position, device=device)
        self._tokens = Tokens(token)
        self._http = httpx2.AsyncClient()
        self._api = Api(base, self._http)
        roads = Roads(self._api, websocket, self._pace)
        self._journey = Journey(self._protocol, self._tokens, roads, self._pace, on_frame)
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to connect; the stream tells when it is done."""
        self._running = asyncio.create_task(self._journey.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Acknowledge what was taken, and leave."""
        running, self._running = self._running, None
        if running is not None:
            if self._journey.goodbye():
                await asyncio.wait({running}, timeout=GOODBYE_SECONDS)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await self._http.aclose()

    @property
    def cursor(self) -> str | None:
        """Where another client would go on: what was taken; None while a snapshot is due."""
        position = self._protocol.progress.resume
        return None if position is None else str(position)

    @property
    def quality(self) -> Quality:
        """`good` (round trip below 300 ms, no beat late), `poor` or `disconnected`."""
        return self._protocol.quality(time.monotonic())

    @property
    def rtt_ms(self) -> float | None:
        """The last round trip, where it is known."""
        return self._protocol.rtt_ms

    @property
    def transport(self) -> Transport:
        """What the present connection is, or the next one will try."""
        return self._journey.transport

    async def events(self) -> AsyncGenerator[Entry]:
        """Yield entries for ever, for one reader; asking for the next one takes the one before.

        What was taken is acknowledged and never told again. Raises SessionEnded when the server
        wants no client back (close codes 45xx), ProtocolViolation for one that speaks something
        else, and what the source of tokens raises.
        """
        journey = self._journey
        while True:
            entry = self._protocol.next_entry(time.monotonic())
            journey.took()
            if entry is not None:
                yield entry
            elif journey.is_over:
                if journey.failure is not None:
                    raise journey.failure
                return
            else:
                await journey.until_arrived()

    async def sync(
        self, *, cursor: str | None = None, since: str | None = None, after: str | None = None
    ) -> Snapshot:
        """Fetch the state, or what changed since a cursor or an RFC 3339 time; all pages.

        It has reached at least `after`, by default all that the stream has told. Once the last page
        is in, the snapshot that was needed counts as taken. Raises ResetRequired for an unusable
        `cursor`, Unavailable after five attempts, and other RequestErrors.
        """
        number, told = self._protocol.progress.snapshots_needed, self._protocol.progress.told
        reached = after or (None if told is None else str(told))
        query = {"cursor": cursor, "since": since, "after": reached}
        given = {name: value for name, value in query.items() if value is not None}
        snapshot = await snapshots.fetch(self._api, self._tokens, self._pace, given)
        self._protocol.snapshot_taken(number, time.monotonic())
        self._journey.wake()
        return snapshot

    def snapshot_taken(self) -> None:
        """Say that a needed snapshot is there, or not needed by an application without state."""
        number = self._protocol.progress.snapshots_needed
        self._protocol.snapshot_taken(number, time.monotonic())
        self._journey.wake()

    async def request(self, kind: str, *, is_repeatable: bool = True, **fields: object) -> Frame:
        """Send a frame of a type, and wait for its `reply`, whose data it returns.

        A repeatable one is sent again after reconnects and after errors that invite to; another one
        raises ConnectionLost when the connection ends before the answer. Raises RateLimited when
        1,000 wait, and the RequestError that the server answers with.
        """
        return await self._journey.request({"type": kind, **fields}, is_repeatable=is_repeatable)

    def tell(self, kind: str, **fields: object) -> bool:
        """Send an ephemeral frame; false, and it is dropped, where nobody would hear it now."""
        is_heard = self._protocol.tell({"type": kind, **fields})
        self._journey.wake()
        return is_heard

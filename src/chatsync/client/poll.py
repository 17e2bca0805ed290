"""A client's connection as long-poll: GET /api/events (protocol §5), one answer after the other."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from chatsync.client.api import Api, closed_by
from chatsync.client.entries import Frame
from chatsync.client.link import Link, LinkClosed
from chatsync.client.reconnect import Ending
from chatsync.errors import RequestError, Unavailable

PATH = "/api/events"
WAIT_SECONDS = 25
# Beyond the wait, for the way there and back.
MARGIN_SECONDS = 10


@asynccontextmanager
async def open_poll(api: Api, query: Mapping[str, str], token: str) -> AsyncGenerator[Link]:
    """Connect; there is nothing to open, so the first answer decides. Raises LinkClosed."""
    yield PollLink(api, query, token)


class PollLink:
    def __init__(self, api: Api, query: Mapping[str, str], token: str) -> None:
        self._api = api
        self._query = dict(query)
        self._token = token

    async def send(self, frame: Frame) -> Frame | None:
        return await self._api.command(frame, self._token)

    async def frames(self) -> AsyncIterator[Frame]:
        is_new = "cursor" not in self._query
        answer = await self._ask(0)
        # A poll has no greeting: the first answer is one.
        yield {
            "type": "connected",
            "recovered": not is_new,
            "cursor": answer.get("from"),
            "topics": self._query["topics"].split(","),
            "heartbeat": {"intervalMs": WAIT_SECONDS * 1000, "timeoutMs": MARGIN_SECONDS * 1000},
        }
        while True:
            yield {**answer, "type": "events"}
            self._query["cursor"] = str(answer.get("to"))
            answer = await self._ask(WAIT_SECONDS)

    async def _ask(self, wait: int) -> Frame:
        query = {**self._query, "wait": str(wait)}
        try:
            return await self._api.get(PATH, query, self._token, wait + MARGIN_SECONDS)
        except Unavailable as error:
            if error.retry_after_ms is None:
                raise LinkClosed(Ending(reason=error.message)) from error
            raise closed_by(error) from error
        except RequestError as error:
            raise closed_by(error) from error

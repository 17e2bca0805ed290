"""A client's connection as Server-Sent Events: GET /api/events/stream (protocol §5)."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2

from chatsync.client import frames
from chatsync.client.api import Api, bearer, closed_by, refusal
from chatsync.client.entries import Frame
from chatsync.client.link import Link, LinkClosed
from chatsync.client.reconnect import Ending

PATH = "/api/events/stream"


@asynccontextmanager
async def open_sse(
    api: Api, query: Mapping[str, str], token: str, timeout: float
) -> AsyncGenerator[Link]:
    """Connect; the silence of a stream is judged by its heartbeats. Raises LinkClosed."""
    headers = {**bearer(token), "Accept": "text/event-stream", "Cache-Control": "no-store"}
    patience = httpx2.Timeout(timeout, read=None)
    try:
        async with api.http.stream(
            "GET", api.address(PATH), params=dict(query), headers=headers, timeout=patience
        ) as answer:
            if answer.status_code != 200:
                await answer.aread()
                problem = refusal(answer)
                if problem is not None and answer.status_code != 404:
                    raise closed_by(problem)
                raise LinkClosed(Ending(reason=f"no stream: {answer.status_code}"))
            yield SseLink(api, answer, token)
    except httpx2.ConnectError as error:
        raise LinkClosed(Ending(reason=str(error)), is_unreachable=True) from error
    except httpx2.TransportError as error:
        raise LinkClosed(Ending(reason=str(error) or type(error).__name__)) from error


class SseLink:
    def __init__(self, api: Api, answer: httpx2.Response, token: str) -> None:
        self._api = api
        self._answer = answer
        self._token = token

    async def send(self, frame: Frame) -> Frame | None:
        """There is no way up in the stream: requests go over HTTP."""
        return await self._api.command(frame, self._token)

    async def frames(self) -> AsyncIterator[Frame]:
        # A page of events is as long as it is.
        stream = httpx2.EventSource(self._answer, max_event_size=None)
        try:
            async for event in stream:
                if event.data:
                    # Its name is the frame's type, whether or not the data say it again.
                    yield {**frames.decode_fields(event.data), "type": event.event}
        except httpx2.TransportError as error:
            raise LinkClosed(Ending(reason=str(error) or type(error).__name__)) from error
        raise LinkClosed(Ending(reason="the stream ended"))

"""Fetches GET /api/sync to its last page: only that completes a snapshot (protocol §5)."""

import asyncio

from chatsync.client.api import Api
from chatsync.client.entries import Frame, Snapshot
from chatsync.client.pace import Pace
from chatsync.client.tokens import Tokens
from chatsync.errors import ProtocolViolation, RequestError, TokenExpired

PATH = "/api/sync"
PAGE = "200"
ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.5


async def fetch(api: Api, tokens: Tokens, pace: Pace, query: dict[str, str]) -> Snapshot:
    """All pages. Raises ResetRequired for an unusable cursor, and any other RequestError."""
    parts: dict[str, list[Frame]] = {
        name: [] for name in ("conversations", "messages", "contacts", "inboxes")
    }
    query = {"limit": PAGE, **query}
    while True:
        page = await _page(api, tokens, pace, query)
        for name, found in parts.items():
            found += page.get(name) or []
        if page.get("hasMore") is not True:
            return Snapshot(**parts, cursor=str(page["cursor"]))
        if not isinstance(page.get("page"), str):
            raise ProtocolViolation("a page that names no next one")
        query["page"] = page["page"]


async def _page(api: Api, tokens: Tokens, pace: Pace, query: dict[str, str]) -> Frame:
    """One page, asked for again while that may help."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await api.get(PATH, query, await tokens.get())
        except TokenExpired:
            if attempt == ATTEMPTS or not tokens.is_renewable:
                raise
            await tokens.renew()
        except RequestError as error:
            if attempt == ATTEMPTS or not error.retryable:
                raise
            least = (error.retry_after_ms or 0) / 1000
            grown = FIRST_RETRY_SECONDS * 2**attempt
            await asyncio.sleep(pace.uniform(least, least + grown))
    raise AssertionError("the last attempt returns or raises")

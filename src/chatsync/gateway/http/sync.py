"""GET /api/sync: a snapshot by pages or, with a cursor or a time, what changed since."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from chatsync.errors import Invalid
from chatsync.gateway import frames
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.gateway.http.conversations import json_response
from chatsync.inbox import queries
from chatsync.inbox.queries import SyncPage
from chatsync.inbox.reads import Reads
from chatsync.model import Claims, Cursor


@dataclass(frozen=True, slots=True)
class _First:
    """What all pages of a sync have of the first one: its position, and the time of that."""

    cursor: Cursor
    read_at: str


class Sync:
    """The endpoint /api/sync. A page token holds its kind, what is the first page's, a position."""

    def __init__(self, reads: Reads, authenticator: Authenticator) -> None:
        self._reads = reads
        self._authenticator = authenticator

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        after = read.cursor(request, "after")
        token = request.query_params.get("page")
        if token is not None:
            kind, cursor, read_at, position = read.decode_token(token, "page", (str, str, str, int))
            assert isinstance(position, int)
            first = _First(Cursor.parse(cursor), str(read_at))
            if kind == "changes":
                since = Cursor(first.cursor.epoch, position)
                return await self._changes(claims, since, first, after)
            return await self._snapshot(request, claims, position, first, after)
        since = read.cursor(request) or await self._since(request, claims.tenant_id)
        if since is not None:
            return await self._changes(claims, since, None, after)
        return await self._snapshot(request, claims, 0, None, after)

    async def _since(self, request: Request, tenant_id: str) -> Cursor | None:
        text = request.query_params.get("since")
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise Invalid("since must be an RFC 3339 time") from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return await queries.cursor_before(self._reads, tenant_id, moment)

    async def _snapshot(
        self,
        request: Request,
        claims: Claims,
        after_id: int,
        first: _First | None,
        after: Cursor | None,
    ) -> Response:
        page = await queries.snapshot(
            self._reads,
            claims,
            limit=read.limit(request),
            after_id=after_id,
            first_cursor=first and first.cursor,
            after=after,
        )
        return _answer("snapshot", page, first)

    async def _changes(
        self, claims: Claims, since: Cursor, first: _First | None, after: Cursor | None
    ) -> Response:
        upto = first and first.cursor.seq
        page = await queries.changes(self._reads, claims, since=since, upto=upto, after=after)
        return _answer("changes", page, first)


def _answer(kind: str, page: SyncPage, first: _First | None) -> Response:
    read_at = frames.timestamp(page.read_at.timestamp()) if first is None else first.read_at
    parts = [
        f'"conversations":[{",".join(page.conversations)}]',
        f'"messages":[{",".join(page.messages)}]',
        f'"contacts":[{",".join(page.contacts)}]',
        f'"cursor":"{page.cursor}"',
        f'"syncTimestamp":{json.dumps(read_at)}',
        f'"hasMore":{"false" if page.reached is None else "true"}',
    ]
    if page.inboxes is not None:
        parts.append(f'"inboxes":[{",".join(page.inboxes)}]')
    if page.reached is not None:
        token = read.encode_token([kind, str(page.cursor), read_at, page.reached])
        parts.append(f'"page":"{token}"')
    return json_response("{" + ",".join(parts) + "}")

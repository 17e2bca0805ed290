"""GET /api/sync: a snapshot by pages or, with a cursor or a time, what changed since."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from chatsync.database import Database
from chatsync.errors import Invalid
from chatsync.gateway import frames
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.gateway.http.conversations import json_response
from chatsync.inbox import queries
from chatsync.inbox.queries import SyncPage
from chatsync.model import Claims, Cursor


class Sync:
    """The endpoint /api/sync. A page token holds its kind, the first cursor and a position."""

    def __init__(self, database: Database, authenticator: Authenticator) -> None:
        self._database = database
        self._authenticator = authenticator

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        after = read.cursor(request, "after")
        token = request.query_params.get("page")
        if token is not None:
            kind, first, position = read.decode_token(token, "page", (str, str, int))
            assert isinstance(position, int)
            cursor = Cursor.parse(first)
            if kind == "changes":
                since = Cursor(cursor.epoch, position)
                return await self._changes(claims, since, cursor.seq, after)
            return await self._snapshot(request, claims, position, cursor, after)
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
        return await queries.cursor_before(self._database, tenant_id, moment)

    async def _snapshot(
        self,
        request: Request,
        claims: Claims,
        after_id: int,
        first_cursor: Cursor | None,
        after: Cursor | None,
    ) -> Response:
        page = await queries.snapshot(
            self._database,
            claims,
            limit=read.limit(request),
            after_id=after_id,
            first_cursor=first_cursor,
            after=after,
        )
        return _answer("snapshot", page)

    async def _changes(
        self, claims: Claims, since: Cursor, upto: int | None, after: Cursor | None
    ) -> Response:
        page = await queries.changes(self._database, claims, since=since, upto=upto, after=after)
        return _answer("changes", page)


def _answer(kind: str, page: SyncPage) -> Response:
    parts = [
        f'"conversations":[{",".join(page.conversations)}]',
        f'"messages":[{",".join(page.messages)}]',
        f'"contacts":[{",".join(page.contacts)}]',
        f'"cursor":"{page.cursor}"',
        f'"syncTimestamp":"{frames.timestamp()}"',
        f'"hasMore":{"false" if page.reached is None else "true"}',
    ]
    if page.inboxes is not None:
        parts.append(f'"inboxes":[{",".join(page.inboxes)}]')
    if page.reached is not None:
        token = read.encode_token([kind, str(page.cursor), page.reached])
        parts.append(f'"page":"{token}"')
    return json_response("{" + ",".join(parts) + "}")

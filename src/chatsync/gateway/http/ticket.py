"""POST /api/ticket: a ticket for an EventSource, which can send no header."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatsync.database import Database
from chatsync.gateway import frames, tickets
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read


class Ticket:
    """The endpoint /api/ticket."""

    def __init__(self, database: Database, authenticator: Authenticator) -> None:
        self._database = database
        self._authenticator = authenticator

    async def post(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        ticket, expires_at = await tickets.issue(self._database, claims)
        document = {"ticket": ticket, "expiresAt": frames.timestamp(expires_at)}
        return JSONResponse(document, headers={"Cache-Control": "no-store"})

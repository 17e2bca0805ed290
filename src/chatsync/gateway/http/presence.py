"""GET /api/presence: who is online in the caller's tenant."""

import json

from starlette.requests import Request
from starlette.responses import Response

from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.gateway.http.conversations import json_response
from chatsync.gateway.presence.presence import Presence


class PresenceList:
    """The endpoint /api/presence."""

    def __init__(self, presence: Presence, authenticator: Authenticator) -> None:
        self._presence = presence
        self._authenticator = authenticator

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        users = await self._presence.users(claims.tenant_id)
        return json_response(json.dumps({"users": users}))

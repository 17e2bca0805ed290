"""/api/queue: the queue for admins, who pause it, and redrive or discard its dead letters."""

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from chatsync.database import Database
from chatsync.errors import Forbidden, Invalid, NotFound
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.model import Claims

# The table's queue_is_plain.
_QUEUE = re.compile(r"[a-z][a-z0-9_.-]{0,62}", re.ASCII)


class Queue:
    """The endpoints below /api/queue."""

    def __init__(self, database: Database, authenticator: Authenticator) -> None:
        self._database = database
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        return [
            Route("/api/queue", self.overview),
            Route("/api/queue/failed", self.failed),
            Route("/api/queue/failed/{id}/redrive", self.redrive, methods=["POST"]),
            Route("/api/queue/failed/{id}/discard", self.discard, methods=["POST"]),
            Route("/api/queue/{queue}/pause", self.pause, methods=["POST"]),
            Route("/api/queue/{queue}/resume", self.resume, methods=["POST"]),
        ]

    async def overview(self, request: Request) -> Response:
        await self._admin(request)
        queues = await self._database.fetch_value("select chatsync.queue_overview()")
        return JSONResponse({"queues": queues})

    async def failed(self, request: Request) -> Response:
        await self._admin(request)
        limit = read.limit(request)
        before = read.identifier(request.query_params.get("before"), "before")
        items = await self._database.fetch_value(
            "select chatsync.failed_page(%s, %s, %s)",
            [request.query_params.get("queue"), before, limit],
        )
        more = {"next": items[-1]["id"]} if len(items) == limit else {}
        return JSONResponse({"items": items, **more})

    async def redrive(self, request: Request) -> Response:
        await self._admin(request)
        new_id = await self._database.fetch_value(
            "select chatsync.redrive_one(%s)", [_failed_id(request)]
        )
        if new_id is None:
            raise NotFound("unknown dead letter, or one that nobody can process")
        return JSONResponse({"messageId": str(new_id)})

    async def discard(self, request: Request) -> Response:
        await self._admin(request)
        is_done = await self._database.fetch_value(
            "select chatsync.discard_one(%s)", [_failed_id(request)]
        )
        if not is_done:
            raise NotFound("unknown dead letter")
        return JSONResponse({"discarded": True})

    async def pause(self, request: Request) -> Response:
        claims = await self._admin(request)
        queue = _queue(request)
        await self._database.fetch_value(
            "select chatsync.rest_queue(%s, %s)", [queue, f"paused by {claims.user_id}"]
        )
        return JSONResponse({"queue": queue, "isPaused": True})

    async def resume(self, request: Request) -> Response:
        await self._admin(request)
        queue = _queue(request)
        await self._database.fetch_value("select chatsync.wake_queue(%s)", [queue])
        return JSONResponse({"queue": queue, "isPaused": False})

    async def _admin(self, request: Request) -> Claims:
        claims = await read.caller(request, self._authenticator)
        if claims.role != "admin":
            raise Forbidden("for the role admin")
        return claims


def _failed_id(request: Request) -> int:
    try:
        found = read.identifier(request.path_params["id"], "id")
    except Invalid as error:
        raise NotFound("unknown dead letter") from error
    assert found is not None
    return found


def _queue(request: Request) -> str:
    queue: str = request.path_params["queue"]
    if not _QUEUE.fullmatch(queue):
        raise Invalid("queue is not the name of a queue")
    return queue

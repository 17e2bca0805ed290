"""GET /api/conversations, /{id}, /{id}/messages: keyset pages, each with its cursor."""

from starlette.requests import Request
from starlette.responses import Response

from chatsync.errors import Invalid, NotFound
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.inbox import queries
from chatsync.inbox.queries import Filter, Page
from chatsync.inbox.reads import Reads

STATUSES = frozenset({"OPEN", "PENDING", "RESOLVED"})


class Conversations:
    """The endpoints below /api/conversations."""

    def __init__(self, reads: Reads, authenticator: Authenticator) -> None:
        self._reads = reads
        self._authenticator = authenticator

    async def list(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        query = request.query_params
        status = query.get("status")
        if status is not None and status not in STATUSES:
            raise Invalid("status must be OPEN, PENDING or RESOLVED")
        page = await queries.list_conversations(
            self._reads,
            claims,
            limit=read.limit(request),
            before=_before(request),
            wanted=Filter(
                status,
                query.get("assigneeId"),
                read.identifier(query.get("inboxId"), "inboxId"),
            ),
            after=read.cursor(request, "after"),
        )
        return _answer(page)

    async def get(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        conversation, cursor = await queries.get_conversation(
            self._reads, claims, _conversation_id(request)
        )
        return json_response(f'{{"conversation":{conversation},"cursor":"{cursor}"}}')

    async def messages(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        page = await queries.list_messages(
            self._reads,
            claims,
            _conversation_id(request),
            limit=read.limit(request),
            before=_before(request),
            after=read.cursor(request, "after"),
        )
        return _answer(page)


def json_response(text: str) -> Response:
    # Answers hold what only this caller may see.
    return Response(text, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _conversation_id(request: Request) -> int:
    text = str(request.path_params["id"])
    # An id that no conversation can have is as unknown as any other.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotFound("unknown conversation")
    return int(text)


def _before(request: Request) -> list[object] | None:
    text = request.query_params.get("before")
    return None if text is None else read.decode_token(text, "before", (str, int))


def _answer(page: Page) -> Response:
    following = ""
    if page.following is not None:
        following = f',"next":"{read.encode_token(page.following)}"'
    items = ",".join(page.items)
    return json_response(f'{{"items":[{items}]{following},"cursor":"{page.cursor}"}}')

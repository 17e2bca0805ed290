"""POST /api/events: what an application publishes into its tenant's log."""

import json
import re
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatsync import strict_json
from chatsync.database import Connection, Database
from chatsync.errors import BadRequest, Forbidden, Invalid, NotFound
from chatsync.events.stamper import Stamper
from chatsync.gateway import frames
from chatsync.gateway.auth import Authenticator
from chatsync.gateway.http import request as read
from chatsync.gateway.http.problems import correlation_id
from chatsync.model import Claims, full_topic

MAX_DATA_BYTES = 65_536
# The data, and room for topics and white space.
MAX_BODY_BYTES = 2 * MAX_DATA_BYTES
MAX_TOPICS = 16
# Clients take these for what chatsync itself says of its entities (protocol §4).
OWN_TYPES = frozenset({
    "message", "conversation", "contact", "connection", "qrcode", "presence", "typing",
})  # fmt: skip
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}", re.ASCII)
_TOPIC = re.compile(r"[a-z][a-z0-9_-]{0,62}:.+", re.ASCII | re.DOTALL)
# Which field breaks a rule of the outbox.
_FIELDS = {
    "topics_are_few": "topics",
    "topics_are_known": "topics",
    "type_is_short": "type",
    "data_is_bounded": "data",
}


@dataclass(frozen=True, slots=True)
class _Event:
    topics: list[str]
    type: str
    data: dict[str, object]


class Publishing:
    """The endpoint /api/events for those who publish."""

    def __init__(self, database: Database, authenticator: Authenticator, stamper: Stamper) -> None:
        self._database = database
        self._authenticator = authenticator
        self._stamper = stamper

    async def post(self, request: Request) -> Response:
        claims = await read.caller(request, self._authenticator)
        if claims.role != "service":
            raise Forbidden("only a token with the role service may publish")
        event = _parsed(await read.body(request, MAX_BODY_BYTES), claims)
        await self._publish(claims, event, correlation_id(request))
        self._stamper.poke()
        # Committed, and numbered in a moment.
        return JSONResponse({"correlationId": correlation_id(request)}, 202)

    async def _publish(self, claims: Claims, event: _Event, correlation: str) -> None:
        try:
            async with self._database.transaction([claims.tenant_id]) as connection:
                if refused := await _refused(connection, claims, event.topics):
                    message = f"topics: not allowed: {', '.join(refused)}"
                    raise Forbidden(message, data={"topics": refused})
                await connection.execute(
                    "select chatsync.publish(%s, %s, %s, %s, %s)",
                    [claims.tenant_id, event.topics, event.type, Jsonb(event.data), correlation],
                )
        except psycopg.errors.CheckViolation as error:
            field = _FIELDS.get(error.diag.constraint_name or "", "the event")
            raise Invalid(f"{field}: the log does not take it") from error
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotFound("unknown tenant") from error
        except (psycopg.DataError, psycopg.errors.StatementTooComplex) as error:
            # Topics and type were looked at: only data can hold what jsonb cannot.
            raise Invalid("data: PostgreSQL cannot keep it") from error


async def _refused(connection: Connection, claims: Claims, topics: list[str]) -> list[str]:
    cursor = await connection.execute(
        "select chatsync.unpublishable_topics(%s, %s)", [Jsonb(claims.document()), topics]
    )
    row = await cursor.fetchone()
    return topics if row is None else list(row[0])


def _parsed(body: bytes, claims: Claims) -> _Event:
    """Read a body. Raises BadRequest for what is no JSON object, else Invalid naming the field."""
    try:
        document = strict_json.loads(body)
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("the body is not a JSON object")
    document = cast(dict[str, Any], document)
    named = frames.topics(document)
    topics = list(dict.fromkeys(full_topic(topic, claims) for topic in named))
    if len(topics) > MAX_TOPICS:
        raise Invalid(f"topics: more than {MAX_TOPICS}")
    if any(_TOPIC.fullmatch(topic) is None for topic in topics):
        raise Invalid("topics must have the form name:id")
    return _Event(topics, _type(document.get("type")), _data(document.get("data")))


def _type(value: object) -> str:
    if not isinstance(value, str) or _TYPE.fullmatch(value) is None:
        raise Invalid("type must be a name of at most 100 letters, digits and signs of _.:-")
    if value.partition(":")[0].lower() in OWN_TYPES:
        raise Invalid("type: chatsync alone speaks of its own entities")
    return value


def _data(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Invalid("data must be a JSON object")
    value = cast(dict[str, object], value)
    try:
        size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
    except (UnicodeEncodeError, RecursionError) as error:
        raise Invalid("data: PostgreSQL cannot keep it") from error
    if size > MAX_DATA_BYTES:
        raise Invalid(f"data: more than {MAX_DATA_BYTES} bytes")
    return value

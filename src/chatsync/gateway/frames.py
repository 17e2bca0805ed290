"""The frames of protocol §3, both ways: decoded strictly, encoded once. No state, no I/O."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from chatsync import strict_json
from chatsync.errors import BadRequest, Invalid, RequestError
from chatsync.gateway.effects import Limits
from chatsync.model import Claims, CloseCode, Cursor, Event

Frame: TypeAlias = dict[str, Any]
RequestId: TypeAlias = str | int | float

MAX_TOPIC_LENGTH = 200
# What PostgreSQL's text can hold: no NUL, no half of a surrogate pair.
_TOPIC = re.compile(f"[^\x00\ud800-\udfff]{{1,{MAX_TOPIC_LENGTH}}}", re.DOTALL)


def decode(text: str) -> Frame:
    """Read a client's frame. Raises BadRequest when it is no JSON object with a type."""
    try:
        frame = strict_json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the frame is not JSON") from error
    if not isinstance(frame, dict):
        raise BadRequest("the frame is not a JSON object")
    frame = cast(Frame, frame)
    if not isinstance(frame.get("type"), str):
        raise BadRequest("the frame has no type")
    return frame


def request_id(frame: Frame) -> RequestId | None:
    """The id to echo, or None where there is none. Raises Invalid for all but a scalar."""
    value = frame.get("id")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Invalid("id must be a string or a number")
    if isinstance(value, str) and len(value) > 200:
        raise Invalid("id is longer than 200 characters")
    return value


def topics(frame: Frame, default: Sequence[str] | None = None) -> list[str]:
    """The field `topics`, each once and in order. Raises Invalid."""
    value = frame.get("topics", default)
    if not isinstance(value, list | tuple) or not value:
        raise Invalid("topics must be a list of topics")
    names = cast(Sequence[object], value)
    for name in names:
        if not isinstance(name, str) or _TOPIC.fullmatch(name) is None:
            raise Invalid(f"topics must be strings of at most {MAX_TOPIC_LENGTH} characters")
    return list(dict.fromkeys(cast(Sequence[str], names)))


def text(frame: Frame, field: str) -> str | None:
    """An optional string field. Raises Invalid when it is something else."""
    value = frame.get(field)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{field} must be a string")
    return value


def name(frame: Frame, field: str) -> str | None:
    """An optional name, as short as a topic's. Raises Invalid."""
    value = text(frame, field)
    if value is not None and _TOPIC.fullmatch(value) is None:
        raise Invalid(f"{field} must have between 1 and {MAX_TOPIC_LENGTH} characters")
    return value


def encode(kind: str, **fields: object) -> bytes:
    """A server frame; fields that are None are left out."""
    return json.dumps(
        {"type": kind, **{name: value for name, value in fields.items() if value is not None}},
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode("utf-8", "replace")


def events(
    epoch: str,
    after: int,
    to: int,
    found: Sequence[Event],
    *,
    is_replay: bool,
    has_more: bool,
    is_redelivered: bool = False,
) -> bytes:
    """An `events` frame over (after, to], joined from events that are encoded already."""
    head = f'{{"type":"events","from":"{Cursor(epoch, after)}","to":"{Cursor(epoch, to)}",'
    flags = (
        ('"replay":true,' if is_replay else "")
        + ('"more":true,' if has_more else "")
        + ('"redelivered":true,' if is_redelivered else "")
    )
    body = b",".join(event.encoded for event in found)
    return b"".join((head.encode(), flags.encode(), b'"events":[', body, b"]}"))


def connected(
    id_: RequestId | None,
    session_id: str,
    claims: Claims,
    *,
    granted: Sequence[str],
    denied: Sequence[str],
    cursor: Cursor,
    reason: str | None,
    limits: Limits,
) -> bytes:
    return encode(
        "connected",
        id=id_,
        sessionId=session_id,
        tenantId=claims.tenant_id,
        userId=claims.user_id,
        recovered=reason is None,
        cursor=str(cursor),
        reason=reason,
        topics=list(granted),
        refused=list(denied) or None,
        heartbeat={"intervalMs": limits.ping_interval_ms, "timeoutMs": limits.ping_timeout_ms},
        tokenExpiresAt=timestamp(claims.expires_at),
        limits={
            "frameBytes": limits.frame_bytes,
            "topics": limits.topics,
            "framesPerSecond": limits.frames_per_second,
            "sessionsPerUser": limits.sessions_per_user,
        },
        reconnect=None
        if limits.reconnect_max_attempts is None
        else {"maxAttempts": limits.reconnect_max_attempts},
    )


def reply(id_: RequestId | None, data: object) -> bytes:
    return encode("reply", id=id_, data=data)


def error(id_: RequestId | None, cause: RequestError) -> bytes:
    return encode(
        "error",
        id=id_,
        code=cause.code,
        message=cause.message,
        retryable=cause.retryable,
        retryAfterMs=cause.retry_after_ms,
        data=cause.data,
    )


# Milliseconds within which a client comes back, by range of the close code (protocol §3): moved
# clients at once but spread, troubled ones after a pause, the rest when it has what it lacks.
_RETRY_WINDOWS = {41: (0, 5_000), 42: (1_000, 30_000), 43: (0, 1_000), 44: (0, 5_000), 45: (0, 0)}


def closing(code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None) -> bytes:
    window = retry_ms or _RETRY_WINDOWS[code // 100]
    return encode("closing", code=int(code), reason=reason, retryMs=list(window))


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 in UTC with milliseconds: of a moment in seconds since 1970, or of now."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""The server's frames (protocol §3), read strictly: what has another form is a ProtocolViolation.

Unknown fields and types are the future's and pass.
"""

from itertools import pairwise
from typing import cast

from chatsync import strict_json
from chatsync.client.entries import Connected, Ephemeral, Event, Frame, Transport
from chatsync.client.reconnect import Ending
from chatsync.errors import BadCursor, ProtocolViolation
from chatsync.model import Cursor


def decode(text: str | bytes) -> Frame:
    """Read one frame: a JSON object with a type."""
    frame = decode_fields(text)
    text_in(frame, "type")
    return frame


def decode_fields(text: str | bytes) -> Frame:
    """Read a JSON object."""
    if isinstance(text, bytes):
        raise ProtocolViolation("a binary frame")
    try:
        frame = strict_json.loads(text)
    except ValueError as error:
        raise ProtocolViolation("a frame that is not JSON") from error
    if not isinstance(frame, dict):
        raise ProtocolViolation("a frame that is no object")
    return cast(Frame, frame)


def text_in(frame: Frame, name: str) -> str:
    value = frame.get(name)
    if not isinstance(value, str):
        raise ProtocolViolation(f"{name} of a frame is no text")
    return value


def optional_text(frame: Frame, name: str) -> str | None:
    return None if frame.get(name) is None else text_in(frame, name)


def number_in(frame: Frame, name: str) -> float:
    """A number that is not negative, as every number on the wire is."""
    value = frame.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ProtocolViolation(f"{name} of a frame is no number")
    return value


def optional_number(frame: Frame, name: str) -> float | None:
    return None if frame.get(name) is None else number_in(frame, name)


def object_in(frame: Frame, name: str) -> Frame:
    value = frame.get(name)
    if not isinstance(value, dict):
        raise ProtocolViolation(f"{name} of a frame is no object")
    return cast(Frame, value)


def objects_in(frame: Frame, name: str) -> list[Frame]:
    value = frame.get(name)
    if not isinstance(value, list):
        raise ProtocolViolation(f"{name} of a frame is no list")
    found = cast(list[object], value)
    if not all(isinstance(each, dict) for each in found):
        raise ProtocolViolation(f"{name} of a frame holds what is no object")
    return cast(list[Frame], found)


def texts_in(frame: Frame, name: str) -> tuple[str, ...]:
    """A list of texts; what is not there is empty."""
    value = frame.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ProtocolViolation(f"{name} of a frame is no list")
    found = cast(list[object], value)
    if not all(isinstance(each, str) for each in found):
        raise ProtocolViolation(f"{name} of a frame holds what is no text")
    return tuple(cast(list[str], found))


def cursor_in(frame: Frame, name: str) -> Cursor:
    try:
        return Cursor.parse(frame.get(name))
    except BadCursor as error:
        raise ProtocolViolation(f"{name} of a frame is no cursor") from error


def closing(frame: Frame) -> Ending:
    code, reason = number_in(frame, "code"), optional_text(frame, "reason")
    return Ending(int(code), reason or "", window_in(frame))


def window_in(frame: Frame) -> tuple[float, float] | None:
    """`retryMs` in seconds, where it is given."""
    value = frame.get("retryMs")
    if value is None:
        return None
    if not isinstance(value, list) or len(cast(list[object], value)) != 2:
        raise ProtocolViolation("retryMs of a frame is no window")
    least, most = cast(list[object], value)
    fields: Frame = {"least": least, "most": most}
    return number_in(fields, "least") / 1000, number_in(fields, "most") / 1000


def events_in(frame: Frame, begin: Cursor, end: Cursor) -> list[Event]:
    """The events of a frame over (begin, end], which must be in order and inside."""
    found = [_event(each, end.epoch) for each in objects_in(frame, "events")]
    numbers = [begin.seq, *(event.seq for event in found)]
    if any(first >= second for first, second in pairwise(numbers)) or numbers[-1] > end.seq:
        raise ProtocolViolation("events out of order")
    return found


def _event(frame: Frame, epoch: str) -> Event:
    seq = frame.get("seq")
    if isinstance(seq, bool) or not isinstance(seq, int):
        raise ProtocolViolation("an event without a number")
    return Event(
        seq=seq,
        type=text_in(frame, "type"),
        topics=texts_in(frame, "topics"),
        data=object_in(frame, "data"),
        timestamp=text_in(frame, "timestamp"),
        correlation_id=optional_text(frame, "correlationId"),
        cursor=str(Cursor(epoch, seq)),
    )


def ephemeral(frame: Frame) -> Ephemeral:
    ttl_ms = optional_number(frame, "ttlMs")
    return Ephemeral(
        event=text_in(frame, "event"),
        topic=text_in(frame, "topic"),
        data=object_in(frame, "data"),
        ttl_ms=None if ttl_ms is None else int(ttl_ms),
    )


def heartbeat(frame: Frame) -> tuple[float | None, float | None]:
    """How often the server beats, and how long a beat may be late, in seconds where it told."""
    if frame.get("heartbeat") is None:
        return None, None
    told = object_in(frame, "heartbeat")
    interval, timeout = optional_number(told, "intervalMs"), optional_number(told, "timeoutMs")
    return _seconds(interval), _seconds(timeout)


def limits(frame: Frame) -> Frame:
    return {} if frame.get("limits") is None else object_in(frame, "limits")


def max_attempts(frame: Frame) -> int | None:
    """How often a server wants to be tried at most, where it tells."""
    if frame.get("reconnect") is None:
        return None
    return int(number_in(object_in(frame, "reconnect"), "maxAttempts"))


def connected(frame: Frame, transport: Transport) -> Connected:
    recovered = frame.get("recovered")
    if not isinstance(recovered, bool):
        raise ProtocolViolation("recovered of a frame is neither true nor false")
    return Connected(
        recovered=recovered,
        cursor=str(cursor_in(frame, "cursor")),
        topics=texts_in(frame, "topics"),
        refused=texts_in(frame, "refused"),
        transport=transport,
        tenant_id=optional_text(frame, "tenantId"),
        user_id=optional_text(frame, "userId"),
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000

"""A session on a virtual clock: objects in, objects out, and the answers that a driver would give.

Every frame it hands out was decoded strictly and has the shape of protocol §3.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from chatsync.gateway.effects import Close, Effect, Limits, Start, Write
from chatsync.gateway.session import Session
from chatsync.model import Claims, CloseCode, Cursor, Event

Frame: TypeAlias = dict[str, Any]
Output: TypeAlias = Frame | Effect

EPOCH = "e1"
HEAD = 10
CLAIMS = Claims("t1", "u1", "agent", "Ana", 2_000_000_000.0)
TOPICS = ("tenant:t1", "user:u1")
LIVE = Start(EPOCH, HEAD, HEAD, "new")

# Fields of the server's frames: required ones, then optional ones (protocol §3).
_SHAPES: dict[str, tuple[set[str], set[str]]] = {
    "connected": (
        {
            "sessionId", "tenantId", "userId", "recovered", "cursor", "topics", "heartbeat",
            "tokenExpiresAt", "limits",
        },
        {"id", "reason", "refused", "reconnect"},
    ),
    "events": ({"from", "to", "events"}, {"replay", "more", "redelivered"}),
    "ephemeral": ({"event", "topic", "data"}, {"ttlMs"}),
    "ping": ({"n", "cursor"}, {"rttMs"}),
    "pong": ({"timestamp"}, {"n"}),
    "reply": ({"id"}, {"data"}),
    "error": ({"code", "message", "retryable"}, {"id", "retryAfterMs", "data"}),
    "reset": ({"reason", "cursor"}, {"topics"}),
    "tokenExpiring": ({"inMs"}, set()),
    "closing": ({"code", "reason", "retryMs"}, set()),
}  # fmt: skip


def decode(encoded: bytes) -> Frame:
    """A server's frame, which must be strict JSON with the fields of its type."""
    frame = json.loads(encoded.decode("utf-8"), parse_constant=_refuse_constant)
    required, optional = _SHAPES[frame["type"]]
    fields = frame.keys() - {"type"}
    assert required <= fields <= required | optional, frame
    for name in ("cursor", "from", "to"):
        if name in frame:
            Cursor.parse(frame[name])
    return frame


def _refuse_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def cursor(seq: int, epoch: str = EPOCH) -> str:
    return f"{epoch}.{seq}"


def resume(position: int, head: int = HEAD, epoch: str = EPOCH) -> Start:
    """A start at a usable cursor."""
    return Start(epoch, position, head)


def event(seq: int, *topics: str) -> Event:
    names = topics or ("tenant:t1",)
    document = {"seq": seq, "type": "message:new", "topics": list(names), "data": {"n": seq}}
    return Event(seq, frozenset(names), json.dumps(document).encode())


class VirtualSession:
    """Drives one session. Methods that feed it return what it put out, in order."""

    def __init__(self, *, limits: Limits | None = None, has_bearer: bool = False) -> None:
        self.now = 1_000.0
        self.limits = limits or Limits()
        self.session = Session("s1", self.limits, self.now, has_bearer=has_bearer)
        self.encoded: dict[object, bytes] = {}

    def take(self) -> list[Output]:
        return [
            decode(effect.frame) if isinstance(effect, Write) else effect
            for effect in self.session.effects()
        ]

    def send_text(self, text: str | None) -> list[Output]:
        self.session.receive(text, self.now)
        return self.take()

    def send(self, kind: str, **fields: object) -> list[Output]:
        return self.send_text(json.dumps({"type": kind, **fields}))

    def answer(self, give: Callable[[Session], None]) -> list[Output]:
        """Give an answer to the last effect, as the driver does."""
        give(self.session)
        return self.take()

    def open(
        self,
        start: Start = LIVE,
        *,
        topics: Sequence[str] = TOPICS,
        refused: Sequence[str] = (),
        expires_in: float = 86_400.0,
        id: object = None,
    ) -> Frame:
        """Connect, be granted the topics, and return the `connected` frame."""
        self.send("connect", token="t", topics=list(topics), id=id)
        connected = self.answer(
            lambda session: session.opened(
                CLAIMS, topics, refused, start, self.now, expires_at=self.now + expires_in
            )
        )
        return only_frame(connected)

    def subscribe(self, *topics: str) -> list[Output]:
        """Subscribe and be granted everything."""
        self.send("subscribe", topics=list(topics))
        return self.answer(lambda session: session.authorized(topics, []))

    def deliver(self, *events: Event, to: int) -> list[Output]:
        self.session.deliver(events, to, self.encoded)
        outputs = self.take()
        self.session.written(self.now)
        return outputs

    def pass_time(self, seconds: float) -> list[Output]:
        """Let time pass in one go, then tick."""
        self.now += seconds
        self.session.tick(self.now)
        return self.take()

    def until_deadline(self) -> list[Output]:
        """Let time pass until the session has something to do, then tick."""
        return self.pass_time(max(0.0, self.session.next_deadline() - self.now))

    def until_ping(self) -> Frame:
        """Let time pass until the next ping, which must be the next thing to happen."""
        return only_frame(self.until_deadline(), "ping")


def only_frame(outputs: Sequence[Output], kind: str | None = None) -> Frame:
    """The one frame that was put out, and nothing else."""
    assert len(outputs) == 1, outputs
    frame = outputs[0]
    assert isinstance(frame, dict), outputs
    assert kind is None or frame["type"] == kind, frame
    return frame


def closes_with(outputs: Sequence[Output], code: CloseCode) -> list[Frame]:
    """Check that this ends with `closing` and then the close; return the frames before them."""
    *before, closing, close = outputs
    assert isinstance(closing, dict), outputs
    assert closing["type"] == "closing", outputs
    assert closing["code"] == code, closing
    least, most = closing["retryMs"]
    assert 0 <= least <= most
    assert close == Close(code, closing["reason"])
    frames = [frame for frame in before if isinstance(frame, dict)]
    assert frames == before, outputs
    return frames


def error_in(outputs: Sequence[Output], code: str) -> Frame:
    """The one frame that was put out, which is an error with this code."""
    frame = only_frame(outputs, "error")
    assert frame["code"] == code, frame
    return frame

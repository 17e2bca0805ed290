"""The driver of a session: moves frames between a socket and the state machine.

All that needs no await is done where it happens: a message, an advance of the log, a timer, a
socket that takes bytes again. A task exists only while something is awaited. A client that does
not read stops its own session and nobody else's.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from starlette.websockets import WebSocket

from chatsync.errors import DatabaseUnavailable, RateLimited, Unavailable
from chatsync.events.feed import TenantFeed
from chatsync.gateway import auth, close_codes, pages, wire
from chatsync.gateway.answers import Answers, Question
from chatsync.gateway.compression import ServerFrame
from chatsync.gateway.effects import Close, Effect, Write
from chatsync.gateway.fan_out import FanOut
from chatsync.gateway.hub import Transport
from chatsync.gateway.outgoing import State
from chatsync.gateway.session import Session
from chatsync.gateway.shared import Shared
from chatsync.gateway.upgrade import refusal
from chatsync.gateway.wire import Wire
from chatsync.model import CloseCode, Event
from chatsync.telemetry import metrics

SUBPROTOCOL = "chatsync.v1"
RETRY_SECONDS = 0.5

log = structlog.stdlib.get_logger(__name__)


async def serve(websocket: WebSocket, shared: Shared) -> None:
    """Refuse an upgrade before it is accepted, or start its session, which needs no task."""
    refused = refusal(websocket.scope, shared.allowed_origins)
    if refused is not None:
        await websocket.send_denial_response(refused)
        return
    offered: list[str] = websocket.scope["subprotocols"]
    below = wire.of(websocket.scope)
    connection = Connection(shared, websocket, below)
    await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    connection.begin(offered)


class Connection(Answers):
    """One socket and its session."""

    __slots__ = ("_question", "_task", "_timer", "_timer_due", "_wire")

    def __init__(self, shared: Shared, websocket: WebSocket, below: Wire) -> None:
        bearer = auth.bearer(websocket.scope)
        session = Session(
            uuid.uuid4().hex, shared.limits, time.monotonic(), has_bearer=bearer is not None
        )
        super().__init__(shared, session, websocket.client.host if websocket.client else "", bearer)
        self._wire = below
        self._question: Question | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf

    def begin(self, offered: list[str]) -> None:
        self._greet(offered)
        self._wire.attach(self, self._shared.limits.frames_per_second)
        self._step()

    @property
    def transport(self) -> Transport:
        return "websocket"

    def wake(self) -> None:
        """Read on: the tenant's log has grown. Runs for each session and each event."""
        if self._task is not None or not self._wire.is_writable:
            return
        feed, session, hub = self._feed, self._session, self._shared.hub
        reading = session.reading
        if (
            feed is None
            or session.state is not State.OPEN
            or session.is_in_doubt
            or session.sight.is_limited
            or not (page := hub.fan_out.page(feed)).suits(reading)
        ):
            self._step()
            return
        try:
            before = reading.events_written
            frame = page.give(reading, session.topics)
            if frame is not None:
                hub.delivered += reading.events_written - before
                self._pass(hub.fan_out, frame)
        except Exception as error:
            self._fail(error)

    def written(self, now: float) -> None:
        """A client that took all it was sent begins to owe its acknowledgement."""
        if self._wire.is_writable:
            session = self._session
            session.written(now)
            if session.acknowledgement.due_at < self._timer_due:
                self._set_timer()

    @property
    def is_stalled(self) -> bool:
        return not self._wire.is_writable

    def drain(self, retry_ms: tuple[int, int]) -> None:
        self.dismiss(CloseCode.DRAINING, "the server is restarting", retry_ms)

    def dismiss(
        self, code: CloseCode, reason: str, retry_ms: tuple[int, int] | None = None
    ) -> None:
        self._session.close(code, reason, retry_ms)
        self._step()

    def hear(self) -> None:
        if self._task is None and self._wire.is_writable:
            self._step()

    def take_over(self) -> None:
        self.dismiss(CloseCode.TOO_MANY_SESSIONS, "another session of this device took over")

    # What the wire tells.

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    def received(self, text: str | None) -> None:
        self._session.acknowledgement.is_held = self.is_stalled
        self._tell(self._session.receive, text, time.monotonic())
        if self._held is not None:
            self._shared.devices.note(self._held)

    def flooded(self) -> None:
        error = RateLimited("too many control frames or fragments", retry_after_ms=1000)
        self._session.refused(error, CloseCode.RATE_LIMITED)
        self._step()

    def drained(self) -> None:
        self._session.written(time.monotonic())
        if self._task is None:
            self._step()

    def lost(self) -> None:
        if self._session.state is not State.CLOSED:
            metrics.SESSIONS_CLOSED.labels(*close_codes.ending(self._wire.conn)).inc()
        self.leave()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    # Carrying out.

    def _greet(self, offered: list[str]) -> None:
        if any(name.startswith("chatsync.") for name in offered) and SUBPROTOCOL not in offered:
            reason = f"this server speaks {SUBPROTOCOL}"
            self._session.close(CloseCode.VERSION_NOT_SUPPORTED, reason)
            return
        try:
            self._shared.hub.greet(self, self._address)
            self._is_greeted = True
        except Unavailable as error:
            self._session.refused(error, CloseCode.OVERLOADED)
        except RateLimited as error:
            self._session.refused(error, CloseCode.RATE_LIMITED)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        try:
            what(*arguments)
        except Exception as error:
            self._fail(error)
        else:
            self._step()

    def _step(self) -> None:
        """Do what can be done now; a task does what must be awaited, and what follows it."""
        try:
            # What may not be heard any longer is let go before anybody is heard. May step itself.
            self._company.hold(self._session.topics)
            if self._task is not None:
                self._flush()
            elif (awaited := self._run()) is not None:
                self._task = asyncio.get_running_loop().create_task(self._work(awaited))
        except Exception as error:
            self._fail(error)
        self._set_timer()

    async def _work(self, awaited: Coroutine[Any, Any, None] | None) -> None:
        try:
            while awaited is not None:
                try:
                    await awaited
                except DatabaseUnavailable:
                    # The feed polls on; a session that lags reads on when the database is back.
                    await asyncio.sleep(RETRY_SECONDS)
                self._company.hold(self._session.topics)
                awaited = self._run()
        except Exception as error:
            self._fail(error)
        finally:
            self._task = None
        self._shared.hub.count_delivered()
        self._set_timer()
        self._wire.feed()

    def _run(self) -> Coroutine[Any, Any, None] | None:
        """Carry out effects and read on until something must be awaited; returns that."""
        session = self._session
        self._flush()
        if session.state is State.OPEN and self._wire.is_writable:
            session.whisper(self._company.take())
            self._flush()
        while session.state is not State.CLOSED:
            if self._question is not None:
                question, self._question = self._question, None
                return self.answer(question)
            feed, reading = self._feed, session.reading
            if feed is None or session.state is not State.OPEN or not self._wire.is_writable:
                return None
            if reading.epoch != feed.epoch:
                return self.begin_anew(feed)
            if session.is_in_doubt:
                return self.ask_again(feed)
            if reading.position >= feed.head:
                return None
            if not feed.holds(reading.position):
                return self.read_page(feed)
            found = feed.after(reading.position, pages.PAGE_EVENTS)
            found = pages.cut(found, pages.SOCKET_BYTES)
            if session.sight.is_limited and session.sight.unknown(found):
                return self.look_and_deliver(feed, found)
            self.deliver(feed, found)
        return None

    def deliver(self, feed: TenantFeed, found: Sequence[Event]) -> None:
        self.give(feed, found)
        own = FanOut()
        self._add_to(own)
        own.flush()

    def _add_to(self, fan_out: FanOut) -> None:
        """Have the pass write what was delivered; what is no frame is carried out here."""
        for effect in self._session.effects():
            if type(effect) is Write:
                self._pass(fan_out, self._shared.frames.of(effect.frame))
            else:
                self._carry_out(effect)

    def _pass(self, fan_out: FanOut, frame: ServerFrame) -> None:
        below = self._wire
        fan_out.add(below.send_raw, frame.compressed if below.is_compressing else frame.plain)
        if self._session.acknowledgement.is_used:
            fan_out.tell(self)

    def _flush(self) -> None:
        while effects := self._session.effects():
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Write(frame):
                self._wire.write(frame)
            case Close(code, reason):
                metrics.SESSIONS_CLOSED.labels("server", int(code)).inc()
                self._wire.close(int(code), reason[:100])
            case _:
                self._question = effect

    def _fail(self, error: Exception) -> None:
        log.error("session_failed", error=repr(error))
        self._session.close(CloseCode.INTERNAL, "something went wrong here")
        self._flush()

    def _set_timer(self) -> None:
        """Have `_on_time` called at the next deadline, or earlier: it looks again."""
        due = self._session.next_deadline()
        if self._session.state is State.CLOSED or due >= self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        delay = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_time)

    def _on_time(self) -> None:
        self._timer, self._timer_due = None, math.inf
        self._tell(self._session.tick, time.monotonic())

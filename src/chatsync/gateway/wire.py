"""The lower half of a WebSocket: RFC 6455 in bounded time and memory, below a session.

uvicorn makes one `Wire` for each upgrade (its option `ws`). The application accepts it, then takes
it over by `attach`: from there on no task runs for it. What comes is handed up in callbacks, what
goes is written at once. Whoever writes too fast for the client learns it from `is_writable`.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from chatsync.gateway import compression
from chatsync.gateway.allowance import Allowance
from chatsync.gateway.handler import NOBODY, Handler

EXTENSION = "chatsync.wire"
# Frames are looked at in pieces, so that a flood of tiny ones is noticed before all are parsed.
PIECE_BYTES = 4096
# What may wait in this process for a client that does not read, besides one page of events.
WRITE_BUFFER_BYTES = 65_536
# How long a closing handshake may take, and how long a refused client may go on sending.
CLOSE_SECONDS = 5.0
# How much of it is read in search of the client's close frame.
TRAILING_BYTES = 131_072
LINGER_SECONDS = 1.0


def of(scope: Scope) -> "Wire":
    """The wire below an ASGI scope."""
    wire = scope["extensions"].get(EXTENSION)
    if not isinstance(wire, Wire):
        raise TypeError(f"uvicorn must be given --ws {__name__}:Wire")
    return wire


class Wire(WebSocketsSansIOProtocol):
    """One WebSocket under uvicorn."""

    # Found without the dictionary of uvicorn's part: looked at for each delivery.
    __slots__ = ("is_compressing", "is_writable", "send_raw")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn.available_extensions = [compression.NEGOTIATION]
        self.is_writable = True
        self.is_compressing = False
        self.send_raw: Callable[[bytes], None] = _nowhere
        self._handler: Handler | None = None
        self._allowance: Allowance | None = None
        self._unfed = b""
        # Messages of a piece that came behind one which the handler is busy with.
        self._waiting: deque[str | None] = deque()
        self._message: bytearray | None = None
        self._is_text = False
        self._is_over = False
        self._unread_bytes = 0
        self._trailing_bytes = 0

    def attach(self, handler: Handler, frames_per_second: int) -> None:
        """Take over an accepted socket; messages that came meanwhile arrive within this call."""
        self._handler = handler
        self._allowance = Allowance(frames_per_second, time.monotonic())
        self.is_compressing = compression.is_usable(self.conn.extensions)
        self.send_raw = self.transport.write
        # Paused means: something is left that the kernel did not take; resumed: nothing is.
        self.transport.set_write_buffer_limits(high=0)
        # What the handshake and ASGI needed; a session keeps none of it.
        for name in ("scope", "request", "response", "queue", "writable", "frames", "app_state"):
            self.__dict__.pop(name, None)
        if self.transport.is_closing():
            self._leave()
            return
        self.feed()

    def write(self, frame: bytes) -> None:
        """Write a text frame's payload."""
        if not self._is_over:
            self._write(compression.text_frame(frame))

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, after what was written before."""
        if self.conn.state is not State.OPEN:
            return
        self.conn.send_close(code, reason)
        self._write(b"".join(self.conn.data_to_send()))
        self._finish()
        self._abort_after(CLOSE_SECONDS)

    def feed(self) -> None:
        """Hand up what has come, as long as the handler takes it."""
        handler, unfed = self._handler, self._unfed
        start = 0
        while handler is not None and self._waiting and not handler.is_busy:
            handler.received(self._waiting.popleft())
        while handler is not None and start < len(unfed) and not handler.is_busy:
            self._take(handler, unfed[start : start + PIECE_BYTES])
            start += PIECE_BYTES
        self._unfed = unfed[start:]
        self._read_or_pause()

    # What uvicorn and asyncio call.

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast("Scope", self.scope)["extensions"][EXTENSION] = self

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
        elif self._handler is not None and not self._has_unfed and len(data) <= PIECE_BYTES:
            if self._handler.is_busy:
                self._unfed = data
                self._read_or_pause()
            else:
                self._take(self._handler, data)
                if self._waiting:
                    self._read_or_pause()
        else:
            self._unfed += data
            self.feed()

    def pause_writing(self) -> None:
        self.is_writable = False
        if self._handler is None:
            super().pause_writing()

    def resume_writing(self) -> None:
        self.is_writable = True
        if self._handler is None:
            super().resume_writing()
            return
        self._unread_bytes = 0
        self._read_or_pause()
        if not self._is_over:
            self._handler.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handler is None:
            super().connection_lost(exc)
        else:
            self.connections.discard(self)
            self._leave()

    def shutdown(self) -> None:
        if self._handler is None:
            super().shutdown()
        elif self.is_writable:
            self.close(CloseCode.SERVICE_RESTART, "")
            self.transport.close()
        else:
            self.transport.abort()

    async def run_asgi(self) -> None:
        try:
            application = cast("ASGIApp", self.app)
            await application(
                cast("Scope", self.scope), cast("Receive", self.receive), cast("Send", self.send)
            )
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        # An attached wire outlives its task.
        if self._handler is None and self.close_timer is None:
            self.transport.close()

    # From bytes to messages.

    def _take(self, handler: Handler, piece: bytes) -> None:
        conn = self.conn
        if self._is_over:
            self._trailing_bytes += len(piece)
            if self._trailing_bytes > TRAILING_BYTES and not conn.eof_sent:
                conn.fail(CloseCode.POLICY_VIOLATION)
        conn.receive_data(piece)
        events, writes = conn.events_received(), conn.data_to_send()
        answered = 0
        for event in events:
            frame = cast(Frame, event)
            if frame.opcode is Opcode.PING:
                answered += 1
            if self._is_over:
                continue
            if frame.opcode is Opcode.PING:
                # Its pong goes where it stands among the messages.
                self._write(writes[answered - 1])
            self._take_frame(handler, frame)
        # What a message itself brought about, as not being UTF-8, came later.
        if rest := writes[answered:] + conn.data_to_send():
            self._write(b"".join(rest))
            if b"" in rest:
                self._end()

    def _take_frame(self, handler: Handler, frame: Frame) -> None:
        opcode, data = frame.opcode, frame.data
        if opcode is Opcode.CLOSE:
            self._finish()
            return
        is_data = opcode is not Opcode.PING and opcode is not Opcode.PONG
        if not (is_data and frame.fin) and not self._may_send_more():
            self._message = None
            handler.flooded()
            return
        if not is_data:
            return
        if opcode is not Opcode.CONT:
            self._is_text = opcode is Opcode.TEXT
            if not frame.fin:
                self._message = bytearray(data)
                return
        elif self._message is not None:
            self._message += data
            if not frame.fin:
                return
            data, self._message = self._message, None
        self._deliver(handler, bytes(data))

    def _deliver(self, handler: Handler, data: bytes) -> None:
        try:
            text = data.decode() if self._is_text else None
        except UnicodeDecodeError:
            self.conn.fail(CloseCode.INVALID_DATA, "not UTF-8")
            self._finish()
        else:
            if handler.is_busy:
                self._waiting.append(text)
            else:
                handler.received(text)

    def _may_send_more(self) -> bool:
        assert self._allowance is not None
        return self._allowance.take(time.monotonic())

    # Back-pressure and the end.

    def _write(self, data: bytes) -> None:
        self.transport.write(data)
        if not self.is_writable:
            # Answers to a client that does not read them: it is not listened to any more, either.
            self._unread_bytes += len(data)
            if self._unread_bytes > WRITE_BUFFER_BYTES:
                self._read_or_pause()

    @property
    def _has_unfed(self) -> bool:
        return bool(self._unfed or self._waiting)

    def _read_or_pause(self) -> None:
        must_pause = self._has_unfed or self._unread_bytes > WRITE_BUFFER_BYTES
        if must_pause == self.read_paused or self.transport.is_closing():
            return
        self.read_paused = must_pause
        if must_pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _finish(self) -> None:
        """Write no more frames of the session: a close frame is the last."""
        self._is_over = True
        self._waiting.clear()
        self.send_raw = _nowhere

    def _end(self) -> None:
        """Close the TCP connection: both sides know why."""
        self._finish()
        if self.conn.close_rcvd is not None:
            self.transport.close()
        elif self.transport.can_write_eof():
            # What the client still sends would reset the connection and destroy our close frame.
            self.transport.write_eof()
        self._abort_after(LINGER_SECONDS)

    def _abort_after(self, seconds: float) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(seconds, self.transport.abort)

    def _leave(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self._finish()
        self._unfed = b""
        handler, self._handler = self._handler, NOBODY
        if handler is not None:
            handler.lost()


def _nowhere(_: bytes) -> None:
    """Where a wire sends that nobody has attached."""

"""A client of protocol §3 as a state machine without I/O: the reference for the client's rules.

Frames, the application's wishes and the time go in; effects come out, entries wait in `progress`.
`now` is a monotonic clock in seconds. It outlives connections: `open` and `lost` mark each.
"""

import math
from collections.abc import Sequence

from chatsync.client import frames, reconnect
from chatsync.client.acknowledgement import Acknowledgement
from chatsync.client.connection import Connection, State
from chatsync.client.effects import Answer, Renew
from chatsync.client.entries import Entry, Frame, Quality, Transport
from chatsync.client.gap import Gap
from chatsync.client.liveness import Liveness
from chatsync.client.pace import Pace
from chatsync.client.progress import Progress
from chatsync.client.reconnect import Ending, Step
from chatsync.client.requests import Requests
from chatsync.client.topics import CHANGES, Topics
from chatsync.errors import ProtocolViolation
from chatsync.model import Cursor


class Protocol(Connection):
    """One client, from its first connection to its last."""

    def __init__(
        self,
        topics: Sequence[str],
        pace: Pace,
        *,
        cursor: Cursor | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(pace)
        self.progress = Progress(cursor)
        self.topics = Topics(topics)
        # How often a server wants to be tried at most, where it told so.
        self.max_attempts: int | None = None
        self._device = device
        self._requests = Requests(pace.waiting_requests)
        self._liveness = Liveness()
        # What the present connection was asked to resume from.
        self.asked: Cursor | None = None
        self._acknowledgement = Acknowledgement(self.progress, pace.acknowledge_seconds)
        self._gap = Gap(pace.repair_seconds)
        self._refused: tuple[str, ...] = ()

    # The connection.

    def open(self, transport: Transport, token: str, now: float) -> None:
        """A connection is made: over a WebSocket, say who is there; elsewhere the URL said it."""
        self.begin(transport, now)
        self.asked = self.progress.resume
        if transport != "websocket":
            return
        hello: Frame = {"type": "connect", "token": token, "topics": self.topics.names}
        if self.asked is not None:
            hello["cursor"] = str(self.asked)
        if self._device is not None:
            hello["device"] = self._device
        self.say({**hello, "id": self._requests.number()})

    def lost(self, ending: Ending, now: float) -> Ending:
        """The connection is gone; returns why, by `closing` or by this side's own leave."""
        ending = self.end(ending, now)
        self.do(*self._requests.lost())
        if reconnect.step_after(ending.code) is Step.FORGET:
            self.progress.forget("epoch" if ending.code == 4400 else "trimmed")
        return ending

    def quality(self, now: float) -> Quality:
        return "disconnected" if self.state is not State.OPEN else self._liveness.quality(now)

    @property
    def rtt_ms(self) -> float | None:
        return self._liveness.rtt_ms

    # The time.

    def next_deadline(self) -> float:
        """When `tick` has something to do at the latest; infinity for never."""
        match self.state:
            case State.CONNECTING:
                return self.connect_by
            case State.OPEN:
                return min(
                    self._liveness.silent_at,
                    self._acknowledgement.due_at,
                    self._gap.give_up_at,
                    self._requests.due_at,
                )
            case State.OFFLINE | State.LEAVING:
                return math.inf

    def tick(self, now: float) -> None:
        if self.state is State.CONNECTING and now >= self.connect_by:
            self.leave(Ending(reason="not connected in time"))
        if self.state is not State.OPEN:
            return
        if now >= self._liveness.silent_at:
            self.leave(Ending(reason="nothing was heard for too long"))
        elif now >= self._gap.give_up_at:
            self.leave(Ending(reason="a gap was not repaired in time"))
        else:
            if now >= self._acknowledgement.due_at:
                self._acknowledge()
            self._send_requests(now)

    def pause(self) -> None:
        """This side stops to read: from now on silence says nothing of the other."""
        self._liveness.pause()

    def listen(self, now: float) -> None:
        """This side reads again."""
        self._liveness.heard(now)

    # The application.

    def next_entry(self, now: float) -> Entry | None:
        """The next entry for the application, which has taken the one before."""
        before = self.progress.taken
        entry = self.progress.next()
        if self.progress.taken != before and self.can_send:
            self._acknowledgement.taken(now)
        return entry

    def snapshot_taken(self, number: int, now: float) -> None:
        """The snapshot that was needed as `number` is complete; its stream may be acknowledged."""
        self.progress.snapshot_taken(number)
        if self.can_send:
            self._acknowledgement.taken(now)

    def goodbye(self) -> None:
        """Acknowledge what was taken, and leave."""
        self._acknowledge()
        self.leave(Ending(1000, "goodbye", is_planned=True))

    def request(self, frame: Frame, now: float, *, is_repeatable: bool) -> int:
        """Ask something; an Answer with this number follows. Raises RateLimited, TooLarge."""
        number = self._requests.add(frame, is_repeatable=is_repeatable)
        if self.state is State.OPEN:
            self._send_requests(now)
        return number

    def drop_request(self, number: int) -> None:
        self._requests.drop(number)

    def tell(self, frame: Frame) -> bool:
        """Say something ephemeral, where anybody hears it now."""
        if self.can_send:
            self.say(frame)
        return self.can_send

    def refresh(self, token: str) -> None:
        """The token that Renew asked for."""
        self.tell({"type": "refresh", "id": self._requests.number(), "token": token})

    # Frames.

    def receive(self, frame: Frame, now: float) -> None:
        """Take a frame. Raises ProtocolViolation; the connection is of no use then."""
        if self.state not in {State.CONNECTING, State.OPEN}:
            return
        self._liveness.heard(now)
        match frame["type"]:
            case "connected" if self.state is State.CONNECTING:
                self._connected(frame, now)
            case "closing":
                self.announce(frames.closing(frame))
            case "reply" | "error" if "id" in frame:
                self._answered(frame, now)
            case "events" | "ping" | "reset" if self.state is State.CONNECTING:
                raise ProtocolViolation(f"{frame['type']} before connected")
            case "events":
                self._events(frame, now)
            case "ephemeral":
                self.progress.append(frames.ephemeral(frame))
            case "ping":
                self._ping(frame)
            case "pong":
                self._liveness.answered(now)
            case "reset":
                cursor = frames.cursor_in(frame, "cursor")
                self.progress.begin(cursor, frames.text_in(frame, "reason"))
                self._begin(cursor)
            case "tokenExpiring":
                self.do(Renew())
            case _:
                pass

    def _connected(self, frame: Frame, now: float) -> None:
        connected = frames.connected(frame, self.transport)
        cursor = Cursor.parse(connected.cursor)
        if not connected.recovered:
            reason = frames.optional_text(frame, "reason")
            self.progress.begin(cursor, reason or "new", connected)
        elif self.asked is not None and self.asked.epoch != cursor.epoch:
            raise ProtocolViolation("recovered in another life of the log")
        else:
            self.progress.go_on(self.asked, cursor, connected)
        self.opened(now)
        self._begin(cursor)
        self._liveness.begin(now, *frames.heartbeat(frame))
        self.max_attempts = frames.max_attempts(frame)
        self.topics.spelled(connected.topics, connected.refused)
        self._refused = connected.refused
        if self.can_send:
            self._liveness.asked(now)
            self.say({"type": "ping", "n": self._requests.number()})
        self._requests.begin(frames.limits(frame), now)
        self._send_requests(now)

    def _begin(self, cursor: Cursor) -> None:
        """From here on nothing is missing, and nothing is acknowledged."""
        self._gap.close()
        self._acknowledgement.begin(cursor)

    def _events(self, frame: Frame, now: float) -> None:
        begin, end = frames.cursor_in(frame, "from"), frames.cursor_in(frame, "to")
        found = frames.events_in(frame, begin, end)
        told = self._told(begin) and self._told(end)
        if told is None:
            return
        if end.seq <= told.seq:
            self._acknowledge(is_again=True)
        elif begin.seq > told.seq:
            self._ask_for_what_is_missing(told, now)
        else:
            self.progress.cover(found, end)
            self._gap.is_open = False

    def _told(self, cursor: Cursor) -> Cursor | None:
        """Where the stream is; None, and the connection ends, where the frame is of another."""
        told = self.progress.told
        if told is not None and told.epoch == cursor.epoch:
            return told
        self.leave(Ending(4400, "another life of the log, without a reset", (0.0, 0.0)))
        return None

    def _ask_for_what_is_missing(self, told: Cursor, now: float) -> None:
        self._gap.is_open = True
        if not self.can_send:
            self.leave(Ending(reason="a gap", window=(0.0, 0.0)))
        elif self._gap.repair is None:
            number = self._requests.number()
            self._gap.ask(number, now)
            self.say({"type": "sync", "id": number, "cursor": str(told)})

    def _ping(self, frame: Frame) -> None:
        cursor = frames.cursor_in(frame, "cursor")
        told = self._told(cursor)
        if told is None:
            return
        if not self._gap.is_open and cursor.seq > told.seq:
            self.progress.move(cursor)
        if (rtt_ms := frames.optional_number(frame, "rttMs")) is not None:
            self._liveness.rtt_ms = rtt_ms
        if self.can_send:
            pong = {"type": "pong", "n": frame.get("n"), **self._acknowledgement.in_pong()}
            self.say(pong)

    def _acknowledge(self, *, is_again: bool = False) -> None:
        frame = self._acknowledgement.frame(is_again=is_again)
        if frame is not None and self.can_send:
            self.say(frame)

    def _answered(self, frame: Frame, now: float) -> None:
        if frame["id"] == self._gap.repair:
            self._gap.close()
            if frame["type"] == "error":
                self.leave(Ending(reason="a gap could not be repaired"))
            return
        answer = self._requests.answered(frame, now)
        if answer is None:
            return
        if answer.request["type"] in CHANGES and isinstance(answer.outcome, dict):
            spelled = frames.texts_in(answer.outcome, "topics")
            self.topics.change(answer.request["type"], spelled)
        self.do(answer)

    def _send_requests(self, now: float) -> None:
        for send in self._requests.send_due(now):
            if send.frame["type"] in CHANGES and self.transport != "websocket":
                self._change_topics(send.frame)
            else:
                self.do(send)

    def _change_topics(self, request: Frame) -> None:
        """Where the topics stand in the URL, a change of them is a new connection."""
        if self.topics.carry_out(request):
            self.leave(Ending(reason="other topics", is_planned=True))
            return
        outcome = self.topics.outcome(request, self._refused, str(self.progress.told))
        self._requests.drop(request["id"])
        self.do(Answer(request["id"], request, outcome))

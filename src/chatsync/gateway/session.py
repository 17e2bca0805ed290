"""A session of protocol §3 as a state machine without I/O.

Frames, answers, events and the time go in; effects come out. The driver must carry out the effects
in order, and answer Open, Authorize, Refresh and Locate before it feeds the next frame.
"""

import math
import sys
from collections.abc import Sequence
from typing import assert_never

from chatsync.errors import (
    BadCursor,
    BadRequest,
    Forbidden,
    Invalid,
    RateLimited,
    RequestError,
    ResetRequired,
    Unauthorized,
)
from chatsync.gateway import frames, requests
from chatsync.gateway.acknowledgement import MAX_REDELIVERIES, Acknowledgement
from chatsync.gateway.allowance import Allowance
from chatsync.gateway.effects import (
    Authorize,
    Limits,
    Locate,
    Open,
    Refresh,
    SetStatus,
    SetTyping,
    Start,
)  # fmt: skip
from chatsync.gateway.expiry import Expiry
from chatsync.gateway.frames import Frame, RequestId
from chatsync.gateway.heartbeat import Heartbeat
from chatsync.gateway.outgoing import Outgoing, State
from chatsync.gateway.reading import Reading
from chatsync.gateway.receipt import Receipt
from chatsync.model import Claims, CloseCode, Cursor, Event, full_topics


class Session(Outgoing):
    """One client's session. `now` is a monotonic clock in seconds, wherever it is asked for."""

    def __init__(self, session_id: str, limits: Limits, now: float, *, has_bearer: bool) -> None:
        super().__init__()
        self.session_id = session_id
        self.claims: Claims | None = None
        self.topics: frozenset[str] = frozenset()
        self.reading = Reading()
        self.acknowledgement = Acknowledgement(limits.ack_timeout_ms / 1000)
        self.receipt = Receipt()
        # What it may hear is to be asked again before it is given anything more.
        self.is_in_doubt = False
        self._limits = limits
        self._has_bearer = has_bearer
        self._sync_requests: list[RequestId] = []
        self._allowance = Allowance(limits.frames_per_second, now)
        self._connect_by = now + limits.connect_timeout_ms / 1000
        self.heartbeat = Heartbeat(limits.ping_interval_ms / 1000)
        self._expiry = Expiry()

    def next_deadline(self) -> float:
        """When `tick` has something to do at the latest; infinity for never."""
        if self.state is State.NEW:
            return self._connect_by
        if self.state is State.CONNECTING:
            return math.inf
        return min(self.heartbeat.due_at, self._expiry.due_at, self.acknowledgement.due_at)

    def receive(self, text: str | None, now: float) -> None:
        """Take one message; None stands for a binary one."""
        if self.state is State.CLOSED:
            return
        self._request = None
        if not self._allowance.take(now):
            self.refused(
                RateLimited("too many frames", retry_after_ms=1000), CloseCode.RATE_LIMITED
            )
            return
        try:
            if text is None:
                raise BadRequest("a binary frame")
            frame = frames.decode(text)
        except BadRequest as error:
            self.refused(error, CloseCode.BAD_FRAME)
            return
        try:
            self._request = frames.request_id(frame)
            if self.state is State.NEW:
                self._connect(frame)
            else:
                self._dispatch(requests.parse(frame), now)
        except RequestError as error:
            self.refused(error, CloseCode.BAD_FRAME if self.state is State.NEW else None)

    def opened(
        self,
        claims: Claims,
        wanted: Sequence[str],
        denied: Sequence[str],
        start: Start,
        now: float,
        *,
        expires_at: float,
    ) -> None:
        """The answer to Open, topics spelled out; `expires_at` is the token's end on this clock."""
        if self.state is State.CLOSED:
            return
        self.state = State.OPEN
        self.claims = claims
        self._expiry.begin(expires_at)
        granted = [topic for topic in wanted if topic not in denied]
        self.topics = frozenset(map(sys.intern, granted))
        self.reading.begin(start)
        self.acknowledgement.begin(self.reading.position)
        self.heartbeat.begin(now)
        self._write(
            frames.connected(
                self._request,
                self.session_id,
                claims,
                granted=granted,
                denied=denied,
                cursor=self.reading.cursor,
                reason=start.reason,
                limits=self._limits,
            )
        )

    def authorized(self, wanted: Sequence[str], denied: Sequence[str]) -> None:
        """The answer to Authorize: all or nothing."""
        if denied:
            message = f"not allowed: {', '.join(denied)}"
            self.refused(Forbidden(message, data={"topics": list(denied)}))
            return
        self.receipt.subscribed(set(wanted) - self.topics, self.reading.cursor)
        self.topics |= frozenset(wanted)
        self._reply({"topics": list(wanted), "cursor": str(self.reading.cursor)})

    def refreshed(self, claims: Claims, *, expires_at: float) -> None:
        """The answer to Refresh: only the same user of the same tenant may go on."""
        assert self.claims is not None
        if (claims.tenant_id, claims.user_id) != (self.claims.tenant_id, self.claims.user_id):
            error = Unauthorized("the token is for somebody else")
            self.refused(error, CloseCode.IDENTITY_CHANGED)
            return
        self.claims = claims
        self.is_in_doubt = True
        self._expiry.begin(expires_at)
        self._reply({"tokenExpiresAt": frames.timestamp(claims.expires_at)})

    def located(self, start: Start) -> None:
        """The answer to Locate, for a `sync`: read on from there, or begin anew at the head."""
        if start.reason == "ahead":
            self.refused(BadCursor("the cursor is beyond what was sent"))
        elif start.reason is not None:
            self.reset(start)
            self.refused(ResetRequired("take a snapshot", data={"reason": start.reason}))
        else:
            self.reading.go_back(start)
            if self._request is not None:
                self._sync_requests.append(self._request)
            self._end_sync()

    def deliver(self, found: Sequence[Event], to: int, encoded: dict[object, bytes]) -> None:
        """Take the log's events in (position, to]; `encoded` is shared with other sessions."""
        frame = self.reading.advance(found, to, self.topics, encoded)
        if frame is not None:
            self._write(frame)
        self._end_sync()

    def written(self, now: float) -> None:
        """What was delivered has left for the client: its time to acknowledge begins."""
        self.acknowledgement.written(self.reading.delivered_to, now)

    def reset(self, start: Start, topics: Sequence[str] | None = None) -> None:
        """Begin anew at the head: the client needs a snapshot. `topics` were taken away."""
        self.is_in_doubt = True
        self.reading.begin(start)
        self.acknowledgement.begin(self.reading.position)
        cursor = str(self.reading.cursor)
        self._write(frames.encode("reset", reason=start.reason, cursor=cursor, topics=topics))
        self._end_sync()

    def tick(self, now: float) -> None:
        """Let time pass: deadlines, heartbeats, expiry."""
        if self.state is State.NEW and now >= self._connect_by:
            self.close(CloseCode.NO_CONNECT, "no connect frame in time")
        if self.state is not State.OPEN:
            return
        if self._expiry.is_over(now):
            self.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
        elif self.heartbeat.is_missed(now):
            self.close(CloseCode.HEARTBEAT_MISSED, "two pings were not answered")
        else:
            self._beat(now)

    def _connect(self, frame: Frame) -> None:
        if frame["type"] != "connect":
            error = Unauthorized("the first frame must be connect")
            self.refused(error, CloseCode.UNAUTHORIZED)
            return
        if frame.get("token") is None and not self._has_bearer:
            self.refused(Unauthorized("no token"), CloseCode.UNAUTHORIZED)
            return
        request = requests.parse(frame)
        assert isinstance(request, requests.Connect)
        self._check_topic_count(len(request.topics))
        self.state = State.CONNECTING
        self._ask(Open(request.token, request.cursor, request.topics, request.device))

    def _dispatch(self, request: requests.Request, now: float) -> None:
        match request:
            case requests.Ping(n):
                self._write(frames.encode("pong", n=n, timestamp=frames.timestamp()))
            case requests.Pong(n, cursor):
                self._pong(n, cursor, now)
            case requests.Ack(cursor):
                self._acknowledge(cursor, now)
            case requests.Subscribe(topics):
                wanted = self._spelled(topics)
                self._check_topic_count(len(self.topics | set(wanted)))
                self._ask(Authorize(tuple(wanted)))
            case requests.Unsubscribe(topics):
                dropped = self._spelled(topics)
                self.topics -= frozenset(dropped)
                self._reply({"topics": dropped, "cursor": str(self.reading.cursor)})
            case requests.Sync(cursor):
                self._sync(cursor)
            case requests.RefreshToken(token):
                self._ask(Refresh(token))
            case SetStatus() | SetTyping():
                self._ask(request)
            case requests.Connect():
                raise BadRequest("this session is connected already")
            case _:
                assert_never(request)

    def _sync(self, cursor: Cursor) -> None:
        if cursor.epoch == self.reading.epoch and cursor.seq > self.reading.sent:
            raise BadCursor("the cursor is beyond what was sent")
        self._ask(Locate(cursor))

    def _pong(self, number: object, cursor: Cursor | None, now: float) -> None:
        self.heartbeat.answer(number, now)
        if cursor is None or cursor.epoch != self.reading.epoch:
            return
        self._acknowledge(cursor, now)
        if self.acknowledgement.is_refused(cursor.seq, self.reading.delivered_to):
            self._deliver_again()

    def _deliver_again(self) -> None:
        if self.reading.replay_until is not None:
            return  # What is missing is on its way already.
        if self.acknowledgement.redeliveries > MAX_REDELIVERIES:
            self.close(CloseCode.NOT_ACKNOWLEDGING, "what was sent again is not acknowledged")
        else:
            self.reading.deliver_again(self.acknowledgement.position)

    def _acknowledge(self, cursor: Cursor, now: float) -> None:
        # An acknowledgement of the life before may cross a reset.
        if cursor.epoch != self.reading.epoch:
            return
        if cursor.seq > self.reading.sent:
            self.close(CloseCode.BAD_FRAME, "an acknowledgement beyond what was sent")
            return
        self.acknowledgement.acknowledge(cursor.seq, self.reading.delivered_to, now)
        self.reading.deliveries.acknowledge(cursor.seq)
        self.receipt.acknowledge(cursor, self.topics)

    def _spelled(self, topics: Sequence[str]) -> list[str]:
        assert self.claims is not None
        return full_topics(topics, self.claims)

    def _check_topic_count(self, count: int) -> None:
        if count > self._limits.topics:
            raise Invalid(f"topics: more than {self._limits.topics} in one session")

    def _beat(self, now: float) -> None:
        remaining_ms = self._expiry.warning_ms(now)
        if remaining_ms is not None:
            self._write(frames.encode("tokenExpiring", inMs=remaining_ms))
        is_asking = now >= self.acknowledgement.due_at
        if is_asking:
            self.acknowledgement.ask()
        if is_asking or now >= self.heartbeat.due_at:
            rtt_ms, number = self.heartbeat.rtt_ms, self.heartbeat.beat(now)
            cursor = str(self.reading.tell())
            self._write(frames.encode("ping", n=number, cursor=cursor, rttMs=rtt_ms))

    def _end_sync(self) -> None:
        if self._sync_requests and self.reading.replay_until is None:
            data = {"cursor": str(self.reading.cursor)}
            for request in self._sync_requests:
                self._write(frames.reply(request, data))
            self._sync_requests.clear()

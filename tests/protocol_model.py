"""Protocol §3 twice more, for tests: what a session owes, and a client that keeps every rule.

Both raise AssertionError at the first broken promise.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatsync.gateway.effects import Close, Start
from chatsync.model import Cursor, Event
from virtual_session import Frame, Output


class Ledger:
    """What one session must write: told of its answers and of what it looked at."""

    def __init__(self) -> None:
        self.held: frozenset[str] = frozenset()
        self.epoch = ""
        self.position = 0
        self.told = 0
        self.replay_until: int | None = None
        self.is_closing = False
        self.is_closed = False
        # Where the last events ended: what is delivered again ends there.
        self.delivered_to = 0
        self._is_again = False
        self._was_again = False
        # A client that was told `more` waits for a frame without it.
        self.owes_last_frame = False
        self._was_replay = False
        # What was found for the session and not yet told.
        self._untold: list[int] = []

    def begin(self, start: Start) -> None:
        """The session reads on from here."""
        self.epoch = start.epoch
        self.position = self.told = start.head if start.reason else start.position
        self.replay_until = start.head if self.position < start.head else None
        self._untold = []
        self._is_again = False
        if start.reason is not None:
            self.delivered_to = 0

    def go_back(self, position: int) -> None:
        """The session delivers again what the client did not acknowledge."""
        assert self.replay_until is None, "delivered again in the middle of a replay"
        self.position = self.told = position
        self.replay_until = self.delivered_to
        self._is_again = True

    def look(self, found: Sequence[Event], to: int) -> None:
        """The session is given the events up to a number."""
        self._untold += [event.seq for event in found if not self.held.isdisjoint(event.topics)]
        self.position = to
        self._was_replay = self.replay_until is not None and not self._is_again
        self._was_again = self.replay_until is not None and self._is_again
        if self.replay_until is not None and to >= self.replay_until:
            self.replay_until = None

    def settle(self) -> None:
        """Check that nothing that was found is kept back."""
        assert self.is_closed or not self._untold, f"{self._untold} kept back"
        is_over = self.is_closed or self.replay_until is not None
        assert is_over or not self.owes_last_frame, "a replay without an end"

    def write(self, output: Output) -> None:
        """Judge what the session put out."""
        assert not self.is_closed, f"after the close: {output}"
        if isinstance(output, Close):
            assert self.is_closing, "closed without `closing`"
            self.is_closed = True
            return
        assert not self.is_closing, f"after `closing`: {output}"
        if not isinstance(output, dict):
            return
        match output["type"]:
            case "connected" | "reset":
                assert Cursor.parse(output["cursor"]) == Cursor(self.epoch, self.told)
                self.owes_last_frame = False
            case "events":
                self._events(output)
            case "ping":
                self._ping(Cursor.parse(output["cursor"]))
            case "reply" if output["data"].keys() == {"cursor"}:
                assert self.replay_until is None, "a sync was called done before it was"
                assert output["data"]["cursor"] == f"{self.epoch}.{self.position}"
            case "closing":
                self.is_closing = True
            case _:
                pass

    def _events(self, frame: Frame) -> None:
        begin, end = Cursor.parse(frame["from"]), Cursor.parse(frame["to"])
        assert begin == Cursor(self.epoch, self.told), f"{frame['from']} is not where it was"
        assert end == Cursor(self.epoch, self.position), f"{frame['to']} is not what was read"
        numbers = [event["seq"] for event in frame["events"]]
        assert numbers == self._untold, f"{numbers} instead of {self._untold}"
        has_more = frame.get("more", False)
        assert has_more == (self.replay_until is not None), "`more` is wrong"
        assert frame.get("replay", False) == self._was_replay, "`replay` is wrong"
        assert frame.get("redelivered", False) == self._was_again, "`redelivered` is wrong"
        self.delivered_to = max(self.delivered_to, end.seq)
        assert numbers or (self.owes_last_frame and not has_more), "a frame for nothing"
        self.told, self._untold, self.owes_last_frame = end.seq, [], has_more

    def _ping(self, cursor: Cursor) -> None:
        assert cursor.epoch == self.epoch
        assert self.told <= cursor.seq <= self.position, "a ping beyond what was read"
        assert not self._untold, f"a ping before {self._untold}"
        self.told = cursor.seq


@dataclass
class Span:
    """What a client saw since it last began anew."""

    epoch: str
    start: int
    seen: list[int] = field(default_factory=list[int])


class ModelClient:
    """Keeps the client's rules; `outbox` holds what it wants to send."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.topics = list(topics)
        self.cursor: Cursor | None = None
        self.spans: list[Span] = []
        self.has_gap = False
        self.is_closing = False
        self.unanswered: dict[int, str] = {}
        self.outbox: list[Frame] = []
        self._requests = 0
        self._repair: int | None = None

    def request(self, kind: str, **fields: Any) -> int:
        self._requests += 1
        self.unanswered[self._requests] = kind
        self.outbox.append({"type": kind, "id": self._requests, **fields})
        return self._requests

    def connect(self) -> None:
        """Start over on a new connection, with the last position told."""
        self.has_gap = self.is_closing = False
        self._repair = None
        self.unanswered.clear()
        self.outbox.clear()
        position = {} if self.cursor is None else {"cursor": str(self.cursor)}
        self.request("connect", token="t", topics=self.topics, **position)

    def sync(self, cursor: Cursor | None = None) -> None:
        """Ask for everything after a position, by default the client's own."""
        self._repair = self.request("sync", cursor=str(cursor or self.cursor))

    def lose(self, frame: Frame, *, asks: bool) -> None:
        """Drop an `events` frame, as a client with a full queue does; perhaps ask for it again."""
        assert self.cursor is not None
        if Cursor.parse(frame["to"]).seq <= self.cursor.seq:
            return
        # What was asked for before may have been in it.
        self.has_gap, self._repair = True, None
        if asks:
            self.sync()

    def receive(self, frame: Frame) -> None:
        assert not self.is_closing, f"after `closing`: {frame}"
        self._answered(frame)
        match frame["type"]:
            case "connected":
                self._connected(frame)
            case "reset":
                self._begin(Cursor.parse(frame["cursor"]))
            case "events":
                self._events(frame)
            case "ping":
                self._ping(frame)
            case "closing":
                self.is_closing = True
                assert frame["code"] // 100 != 45, f"a client that keeps the rules: {frame}"
                if frame["code"] // 100 == 44:
                    self.cursor = None
            case _:
                pass

    def _answered(self, frame: Frame) -> None:
        if "id" not in frame:
            return
        kind = self.unanswered.pop(frame["id"], None)
        assert kind is not None, f"an answer to nothing: {frame}"
        assert (frame["type"] == "connected") == (kind == "connect"), frame
        if frame["id"] == self._repair:
            # Everything between was sent before the answer.
            self.has_gap, self._repair = False, None

    def _connected(self, frame: Frame) -> None:
        cursor = Cursor.parse(frame["cursor"])
        if frame["recovered"]:
            assert cursor == self.cursor, "recovered somewhere else"
        else:
            assert (frame["reason"] == "new") == (self.cursor is None)
            self._begin(cursor)

    def _begin(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.has_gap, self._repair = False, None
        self.spans.append(Span(cursor.epoch, cursor.seq))

    def _events(self, frame: Frame) -> None:
        begin, end = Cursor.parse(frame["from"]), Cursor.parse(frame["to"])
        assert self.cursor is not None
        assert begin.epoch == end.epoch == self.cursor.epoch, "another life without a reset"
        if begin.seq > self.cursor.seq:
            self.has_gap = True
            self.sync()
            return
        if end.seq > self.cursor.seq:
            numbers = [event["seq"] for event in frame["events"]]
            assert numbers == sorted(set(numbers)), f"not in order, or twice: {numbers}"
            assert all(begin.seq < number <= end.seq for number in numbers), numbers
            self.spans[-1].seen += [number for number in numbers if number > self.cursor.seq]
            self.cursor = end
        # It reaches on from here without a hole; a repair that is under way repeats what is known.
        self.has_gap = False
        self.outbox.append({"type": "ack", "cursor": str(self.cursor)})

    def _ping(self, frame: Frame) -> None:
        told = Cursor.parse(frame["cursor"])
        assert self.cursor is not None
        assert told.epoch == self.cursor.epoch, "another life without a reset"
        if not self.has_gap and told.seq > self.cursor.seq:
            self.cursor = told
        self.outbox.append({"type": "pong", "n": frame["n"], "cursor": str(self.cursor)})

    def saw_all(self, log: Sequence[Event], topic: str) -> None:
        """Check that the present span saw what has this topic: all of it, once, in order."""
        if self.cursor is None:
            return
        span = self.spans[-1]
        due = [
            event.seq
            for event in log
            if topic in event.topics and span.start < event.seq <= self.cursor.seq
        ]
        seen = set(due)
        assert [number for number in span.seen if number in seen] == due, f"of {due}: {span.seen}"

    def saw_none(self, log: Sequence[Event], topic: str) -> None:
        """Check that what has only this topic was never seen in the present span."""
        foreign = {event.seq for event in log if event.topics == frozenset({topic})}
        assert not self.spans or foreign.isdisjoint(self.spans[-1].seen)


def encode(frame: Frame) -> str:
    return json.dumps(frame)

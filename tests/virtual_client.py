"""The client's state machine on a virtual clock, in place of the model that keeps every rule.

What is a field of the model is a property here: the state machine knows it.
"""

from collections.abc import Sequence
from typing import Any

from chatsync.client.connection import State
from chatsync.client.effects import Answer, Leave, Send
from chatsync.client.entries import Entry, Event, SnapshotNeeded
from chatsync.client.pace import Pace
from chatsync.client.protocol import Protocol
from chatsync.client.reconnect import Ending
from chatsync.model import Cursor
from protocol_model import ModelClient, Span
from virtual_session import Frame

TIME = "2026-01-01T00:00:00.000Z"
PACE = Pace(uniform=lambda least, most: least)


class RealClient(ModelClient):
    """What the machine asks of a client, answered by `chatsync.client`."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.protocol = Protocol(topics, PACE)
        self.now = 500.0
        self.wants_to_leave = False
        self.answers: dict[int, Answer] = {}
        self.items: list[Entry] = []
        self._asked: dict[int, str] = {}
        super().__init__(topics)

    def connect(self) -> None:
        self.outbox.clear()
        self.is_closing = self.wants_to_leave = False
        self.protocol.open("websocket", "t", self.now)
        self._pump()

    def receive(self, frame: Frame) -> None:
        assert not self.is_closing, f"after `closing`: {frame}"
        before = self.protocol.progress.snapshots_needed
        self.protocol.receive(_complete(frame), self.now)
        if frame["type"] == "closing":
            self.is_closing = True
            assert frame["code"] // 100 != 45, f"a client that keeps the rules: {frame}"
        if self.protocol.progress.snapshots_needed > before:
            told = self.protocol.progress.told
            assert told is not None
            self.spans.append(Span(told.epoch, told.seq))
        self._pump()

    def lost(self) -> None:
        self.protocol.lost(Ending(), self.now)
        self.outbox.clear()
        self._pump()

    def request(self, kind: str, **fields: Any) -> int:
        number = self.protocol.request({"type": kind, **fields}, self.now, is_repeatable=True)
        self._asked[number] = kind
        self._pump()
        return number

    def sync(self, cursor: Cursor | None = None) -> None:
        self.request("sync", cursor=str(cursor or self.cursor))

    def take(self, count: int, *, is_diligent: bool = True) -> None:
        """The application takes items; a diligent one takes its snapshots, too."""
        for _ in range(count):
            item = self.protocol.next_entry(self.now)
            if item is None:
                break
            self.items.append(item)
            if isinstance(item, Event):
                self.spans[-1].seen.append(item.seq)
            elif isinstance(item, SnapshotNeeded) and is_diligent:
                self.protocol.snapshot_taken(self.protocol.progress.snapshots_needed, self.now)
        self._pump()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.protocol.tick(self.now)
        self._pump()

    def _pump(self) -> None:
        for effect in self.protocol.effects():
            match effect:
                case Send(frame):
                    self.outbox.append(frame)
                case Answer(number):
                    assert number not in self.answers, "answered twice"
                    self.answers[number] = effect
                    del self._asked[number]
                case Leave():
                    self.wants_to_leave = True
                case _:
                    pass

    @property
    def cursor(self) -> Cursor | None:
        """The event in the application's hand counts: it was seen."""
        progress = self.protocol.progress
        if progress.taken is None or not self.spans:
            return progress.taken
        seen = self.spans[-1].seen
        return Cursor(progress.taken.epoch, max([progress.taken.seq, *seen[-1:]]))

    @cursor.setter
    def cursor(self, value: Cursor | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert value is None

    @property
    def has_gap(self) -> bool:
        return self.protocol._gap.is_open

    @has_gap.setter
    def has_gap(self, value: bool) -> None:
        assert not value

    @property
    def unanswered(self) -> dict[int, str]:
        connecting = {0: "connect"} if self.protocol.state is State.CONNECTING else {}
        return {**connecting, **self._asked}

    @unanswered.setter
    def unanswered(self, value: dict[int, str]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert not value


def _complete(frame: Frame) -> Frame:
    """The machine's events have no time."""
    if frame["type"] != "events":
        return frame
    return {**frame, "events": [{"timestamp": TIME, **event} for event in frame["events"]]}

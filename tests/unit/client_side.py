"""A client's state machine on a virtual clock, with frames as a server sends them."""

from typing import Any

from chatsync.client.effects import Answer, Effect, Leave, Send
from chatsync.client.entries import Entry, Event, SnapshotNeeded, Transport
from chatsync.client.pace import Pace
from chatsync.client.protocol import Protocol
from chatsync.client.reconnect import Ending
from chatsync.model import Cursor
from virtual_session import Frame, cursor

PACE = Pace(uniform=lambda least, most: most)
TIME = "2026-01-01T00:00:00.000Z"


def connected(position: int, epoch: str = "e1", **more: Any) -> Frame:
    return {
        "type": "connected",
        "recovered": "reason" not in more,
        "cursor": cursor(position, epoch),
        "topics": ["tenant:t1", "user:u1"],
        "heartbeat": {"intervalMs": 25_000, "timeoutMs": 10_000},
        **more,
    }


def events(begin: int, end: int, *numbers: int, epoch: str = "e1", **more: Any) -> Frame:
    found = [
        {"seq": number, "type": "test", "topics": ["tenant:t1"], "data": {}, "timestamp": TIME}
        for number in numbers
    ]
    told = {"from": cursor(begin, epoch), "to": cursor(end, epoch)}
    return {"type": "events", **told, "events": found, **more}


def ping(position: int, n: int = 1, **more: Any) -> Frame:
    return {"type": "ping", "n": n, "cursor": cursor(position), **more}


class Side:
    """One client; what it is told returns what it sends at once."""

    def __init__(self, position: int | None = None, device: str | None = None) -> None:
        start = None if position is None else Cursor("e1", position)
        self.protocol = Protocol(["tenant", "user"], PACE, cursor=start, device=device)
        self.now = 100.0
        self.answers: list[Answer] = []
        self.has_left = False
        self.others: list[Effect] = []

    def sent(self) -> list[Frame]:
        frames: list[Frame] = []
        for effect in self.protocol.effects():
            match effect:
                case Send(frame):
                    frames.append(frame)
                case Answer():
                    self.answers.append(effect)
                case Leave():
                    self.has_left = True
                case _:
                    self.others.append(effect)
        return frames

    def open(self, transport: Transport = "websocket") -> list[Frame]:
        self.protocol.open(transport, "jwt", self.now)
        return self.sent()

    def told(self, frame: Frame) -> list[Frame]:
        self.protocol.receive(frame, self.now)
        return self.sent()

    def connect(self, position: int, transport: Transport = "websocket", **more: Any) -> Frame:
        """Connect; returns the `connect` frame, if there was one."""
        hello = [*self.open(transport), {}][0]
        self.told(connected(position, **more))
        return hello

    def lost(self, code: int = 1006, reason: str = "") -> Ending:
        ending = self.protocol.lost(Ending(code, reason), self.now)
        assert self.sent() == []
        return ending

    def request(self, frame: Frame, *, is_repeatable: bool) -> int:
        return self.protocol.request(frame, self.now, is_repeatable=is_repeatable)

    def after(self, seconds: float) -> list[Frame]:
        self.now += seconds
        self.protocol.tick(self.now)
        return self.sent()

    def item(self) -> Entry | None:
        return self.protocol.next_entry(self.now)

    def items(self) -> list[Entry]:
        """All that waits; the last one stays in the application's hand."""
        found: list[Entry] = []
        while len(self.protocol.progress):
            item = self.item()
            assert item is not None
            found.append(item)
        return found

    def numbers(self) -> list[int]:
        return [item.seq for item in self.items() if isinstance(item, Event)]

    def take_all(self) -> None:
        """The application has dealt with everything, a snapshot included."""
        for item in self.items():
            if isinstance(item, SnapshotNeeded):
                number = self.protocol.progress.snapshots_needed
                self.protocol.snapshot_taken(number, self.now)
        self.item()


def settled(position: int = 4) -> Side:
    """A client that is connected, has its snapshot, and has nothing to say."""
    side = Side(position)
    side.connect(position)
    side.take_all()
    return side

"""A session, its client and a log between which frames travel: what may happen to them."""

from collections import deque
from collections.abc import Sequence

from chatsync.gateway.effects import Authorize, Close, Effect, Limits, Locate, Open, Refresh, Start
from chatsync.gateway.outgoing import State
from chatsync.model import Cursor, Event
from protocol_model import Ledger, ModelClient, encode
from virtual_session import CLAIMS, Frame, Output, VirtualSession

ALWAYS, NEVER = "tenant:t1", "user:u2"
OPTIONAL = {"user": "user:u1", "conversa:1": "conversation:1", "conversation:2": "conversation:2"}
# The flood limit has tests of its own; here it would end most runs.
LIMITS = Limits(frames_per_second=1_000_000)


class Log:
    """One life of a tenant's log."""

    def __init__(self, epoch: str, head: int) -> None:
        self.epoch = epoch
        self.trimmed_to = self.first = head
        self.events: list[Event] = []

    @property
    def head(self) -> int:
        return self.first + len(self.events)

    def page(self, after: int, size: int) -> list[Event]:
        return self.events[after - self.first : after - self.first + size]

    def start(self, cursor: Cursor | None) -> Start:
        """Where reading may begin, judged as every transport judges it."""
        if cursor is None:
            reason = "new"
        elif cursor.epoch != self.epoch:
            reason = "epoch"
        elif cursor.seq > self.head:
            reason = "ahead"
        elif cursor.seq < self.trimmed_to:
            reason = "trimmed"
        else:
            return Start(self.epoch, cursor.seq, self.head)
        return Start(self.epoch, self.head, self.head, reason)


class World:
    """Frames travel in two queues; answers of the driver may take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log("e1", 0)
        self.client = ModelClient(["tenant", "user"])
        self.server: VirtualSession | None = None
        self.ledger = Ledger()
        self.question: Effect | None = None
        self.down: deque[Output] = deque()

    def vanish(self) -> None:
        self.server = self.question = None
        self.down.clear()
        self.client.outbox.clear()
        self.client.unanswered.clear()

    def hear_the_client(self) -> None:
        frame = self.client.outbox.pop(0)
        if frame["type"] == "unsubscribe" and not self.ledger.is_closed:
            self.ledger.held -= {OPTIONAL[topic] for topic in frame["topics"]}
        outputs = self.at_server().send_text(encode(frame))
        reading = self.at_server().session.reading
        if self.is_reading() and reading.position < self.ledger.position:
            self.ledger.go_back(reading.position)
        self.put_out(outputs)

    def hear_the_server(self) -> None:
        output = self.down.popleft()
        if isinstance(output, dict):
            self.client.receive(output)
        else:
            self.vanish()

    def answer(self, *, is_granted: bool) -> None:
        question, self.question = self.question, None
        server = self.at_server()
        ends = server.now + 300
        match question:
            case Open(_, cursor, topics):
                start = self.log.start(cursor)
                wanted = [{"tenant": ALWAYS, **OPTIONAL}.get(topic, topic) for topic in topics]
                self.ledger.held = frozenset(wanted)
                self.ledger.begin(start)
                outputs = server.answer(
                    lambda it: it.opened(CLAIMS, wanted, [], start, server.now, expires_at=ends)
                )
            case Authorize(topics):
                if is_granted:
                    self.ledger.held |= frozenset(topics)
                denied = [] if is_granted else list(topics)
                outputs = server.answer(lambda it: it.authorized(topics, denied))
            case Locate(cursor):
                start = self.log.start(cursor)
                if start.reason != "ahead":
                    self.ledger.begin(start)
                outputs = server.answer(lambda it: it.located(start))
            case Refresh():
                outputs = server.answer(lambda it: it.refreshed(CLAIMS, expires_at=ends))
            case _:
                raise AssertionError(question)
        self.put_out(outputs)

    def read_a_page(self, size: int) -> None:
        """Give the session a page, or a reset where the log cannot be read on."""
        server = self.at_server()
        reading = server.session.reading
        start = self.log.start(reading.cursor)
        if start.reason is not None:
            self.ledger.begin(start)
            self.put_out(server.answer(lambda it: it.reset(start)))
        elif page := self.log.page(reading.position, size):
            self.ledger.look(page, page[-1].seq)
            self.put_out(server.deliver(*page, to=page[-1].seq))
            self.ledger.settle()

    def forget_frames(self) -> None:
        if self.server is not None:
            self.server.encoded.clear()

    def let_everything_arrive(self) -> None:
        for _ in range(10_000):
            if self.question is not None:
                self.answer(is_granted=True)
            elif self.down:
                self.hear_the_server()
            elif self.server is not None and self.client.outbox:
                self.hear_the_client()
            elif self.is_behind():
                self.read_a_page(3)
            else:
                return
        raise AssertionError("it never ends")

    # How it is read.

    def at_server(self) -> VirtualSession:
        assert self.server is not None
        return self.server

    def is_reading(self) -> bool:
        return self.server is not None and self.server.session.state is State.OPEN

    def was_opened(self) -> bool:
        """Whether pages may reach the session: also one that was closed while they were read."""
        return self.server is not None and self.server.session.claims is not None

    def knows_everything(self) -> bool:
        """Whether the client has heard, without a gap, of all there is."""
        is_there = self.client.cursor == Cursor(self.log.epoch, self.log.head)
        return is_there and not self.client.has_gap

    def is_behind(self) -> bool:
        if not self.is_reading():
            return False
        return self.at_server().session.reading.cursor != Cursor(self.log.epoch, self.log.head)

    def is_connected(self) -> bool:
        """Whether the client knows that it is connected, and not that this ends."""
        return (
            self.server is not None
            and "connect" not in self.client.unanswered.values()
            and self.client.cursor is not None
            and not self.client.is_closing
        )

    def next_events(self) -> Frame | None:
        first = self.down[0] if self.down else None
        return first if isinstance(first, dict) and first["type"] == "events" else None

    def put_out(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            self.ledger.write(output)
            if isinstance(output, dict | Close):
                self.down.append(output)
            else:
                self.question = output

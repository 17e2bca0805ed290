"""A session against a client that keeps every rule, over a wire that delays and loses."""

from collections import deque
from collections.abc import Sequence

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chatsync.gateway.effects import Authorize, Close, Effect, Limits, Locate, Open, Refresh, Start
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode, Cursor, Event
from protocol_model import Ledger, ModelClient, encode
from virtual_session import CLAIMS, Frame, Output, VirtualSession, event

ALWAYS, NEVER = "tenant:t1", "user:u2"
OPTIONAL = {"user": "user:u1", "conversa:1": "conversation:1", "conversation:2": "conversation:2"}
LOGGED = st.lists(
    st.frozensets(st.sampled_from([ALWAYS, NEVER, *OPTIONAL.values()]), min_size=1, max_size=3),
    min_size=1,
    max_size=6,
)
WANTED = st.lists(st.sampled_from(list(OPTIONAL)), min_size=1, max_size=3, unique=True)
# Time passes more often than the world ends.
DISTURBANCES = st.sampled_from(
    [0.1, 6.0, 13.0, 25.0, "trim", "trim all", "another life", "vanish", "drain", 25.0, 25.0]
)
STEPS = st.lists(
    st.sampled_from(["hear client", "hear server", "answer", "read"]), min_size=1, max_size=12
)
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


class SessionMachine(RuleBasedStateMachine):
    """Random histories. Frames travel in two queues; answers of the driver may take their time."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log("e1", 0)
        self.client = ModelClient(["tenant", "user"])
        self.server: VirtualSession | None = None
        self.ledger = Ledger()
        self.question: Effect | None = None
        self.down: deque[Output] = deque()

    # The world.

    @initialize(head=st.integers(0, 5), topics=LOGGED)
    def begin(self, head: int, topics: list[frozenset[str]]) -> None:
        self.log = Log("e1", head)
        self.publish(topics)

    @rule(topics=LOGGED, size=st.integers(0, 7))
    def publish(self, topics: list[frozenset[str]], size: int = 0) -> None:
        """Append to the log; a session may be given the first of it at once."""
        for names in topics:
            self.log.events.append(event(self.log.head + 1, *sorted(names)))
        self.forget_frames()
        if size and self.server is not None:
            self.run(["read"], size=size, is_granted=True)

    @precondition(lambda self: self.server is None)
    @rule(done=st.sampled_from([3, 3, 1, 0]))
    def connect(self, done: int) -> None:
        """Begin a session, and let some of what makes it one happen."""
        self.server, self.ledger = VirtualSession(limits=LIMITS), Ledger()
        self.client.connect()
        steps = ["hear client", "answer", "hear server"]
        self.run(steps[:done], size=1, is_granted=True)

    @rule(what=DISTURBANCES)
    def disturb(self, what: str | float) -> None:
        match what:
            case "trim":
                self.log.trimmed_to += (self.log.head - self.log.trimmed_to) // 2
            case "trim all":
                self.log.trimmed_to = self.log.head
            case "another life":
                self.log = Log(f"e{int(self.log.epoch[1:]) + 1}", self.log.head // 2)
                self.forget_frames()
            case "vanish":
                self.vanish()
            case "drain" if self.server is not None:
                # What was asked before is answered after it.
                self.run(["hear client"], size=1, is_granted=True)
                self.put_out(self.server.answer(lambda it: it.close(CloseCode.DRAINING, "bye")))
            case float() if self.server is not None:
                self.put_out(self.server.pass_time(what))
            case _:
                pass

    @precondition(lambda self: self.server is not None)
    @rule(rounds=st.integers(1, 3))
    def flow(self, rounds: int) -> None:
        """Let things happen as they do on a good day."""
        for _ in range(rounds):
            steps = ["read", *["hear server"] * len(self.down), "hear client", "answer"]
            self.run(steps, size=3, is_granted=True)

    @precondition(lambda self: self.server is not None)
    @rule(steps=STEPS, size=st.integers(1, 7), is_granted=st.booleans())
    def run(self, steps: list[str], size: int, is_granted: bool) -> None:
        """Let things happen, in this order, as far as they can."""
        for step in steps:
            match step:
                case "hear client" if self.client.outbox and self.question is None:
                    self.hear_the_client()
                case "hear server" if self.down:
                    self.hear_the_server()
                case "answer" if self.question is not None:
                    self.answer(is_granted=is_granted)
                case "read" if self.was_opened() and self.question is None:
                    self.read_a_page(size)
                case _:
                    pass

    # What the client may want.

    @precondition(lambda self: self.is_connected())
    @rule(kind=st.sampled_from(["subscribe", "unsubscribe"]), topics=WANTED)
    def want_topics(self, kind: str, topics: list[str]) -> None:
        self.client.request(kind, topics=topics)

    @precondition(lambda self: self.is_connected())
    @rule(times=st.integers(1, 2), back=st.integers(0, 4))
    def sync_for_no_reason(self, times: int, back: int) -> None:
        cursor = self.client.cursor
        assert cursor is not None
        older = Cursor(cursor.epoch, max(self.client.spans[-1].start, cursor.seq - back))
        for _ in range(times):
            self.client.sync(older)

    @precondition(lambda self: self.is_connected())
    @rule(kind=st.sampled_from(["ping", "refresh", "no such type"]))
    def say_something_else(self, kind: str) -> None:
        if kind == "ping":
            self.client.outbox.append({"type": "ping", "n": 7})
        else:
            self.client.request(kind, token="t2")

    @precondition(lambda self: self.is_connected() and self.next_events() is not None)
    @rule(asks=st.booleans())
    def lose_a_frame(self, asks: bool) -> None:
        """The client cannot apply a frame: it asks for it, or stands still until it comes again."""
        frame = self.next_events()
        assert frame is not None
        self.down.popleft()
        self.client.lose(frame, asks=asks)

    # How things happen.

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

    # What always holds.

    @invariant()
    def positions_are_in_order(self) -> None:
        if self.is_reading() and self.at_server().session.reading.epoch == self.log.epoch:
            reading = self.at_server().session.reading
            assert reading.told <= reading.position <= self.log.head

    @invariant()
    def the_client_saw_what_it_always_heard_and_nothing_that_it_never_did(self) -> None:
        if self.client.spans and self.client.spans[-1].epoch == self.log.epoch:
            self.client.saw_all(self.log.events, ALWAYS)
            self.client.saw_none(self.log.events, NEVER)

    @invariant()
    def what_is_kept_for_its_device_the_client_has_taken(self) -> None:
        if self.server is None or self.client.cursor is None:
            return
        kept = self.server.session.receipt.acknowledged
        if kept is not None and kept.cursor.epoch == self.client.cursor.epoch:
            assert kept.cursor.seq <= self.client.cursor.seq

    def teardown(self) -> None:
        """Let everything arrive: then the client knows all, and waits for no answer."""
        self.let_everything_arrive()
        for _ in range(12):
            if self.is_reading() and not self.knows_everything():
                self.put_out(self.at_server().until_deadline())
            self.let_everything_arrive()
        if self.server is None or self.client.cursor is None:
            return
        assert not self.client.unanswered, f"never answered: {self.client.unanswered}"
        assert self.knows_everything(), f"{self.client.cursor} of {self.log.head}"
        self.the_client_saw_what_it_always_heard_and_nothing_that_it_never_did()

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


def test_every_history_keeps_the_promises():
    run_state_machine_as_test(
        SessionMachine,
        settings=settings(
            max_examples=200,
            stateful_step_count=60,
            deadline=None,
            print_blob=True,
            # Without the phase that explains: it takes minutes over histories of this length.
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )

"""A session against a client that keeps every rule, over a wire that delays and loses."""

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

from chatsync.model import CloseCode, Cursor
from property.session_world import ALWAYS, LIMITS, NEVER, OPTIONAL, Log, World
from protocol_model import Ledger
from virtual_session import VirtualSession, event

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


class SessionMachine(World, RuleBasedStateMachine):
    """Random histories."""

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

"""Each event that a session was sent has one outcome."""

from collections.abc import Callable

import pytest

from chatsync.gateway.deliveries import MAX_FRAMES
from chatsync.gateway.effects import Limits, Start
from chatsync.telemetry import metrics
from virtual_session import VirtualSession, cursor, event

OUTCOMES = ("acknowledged", "unacknowledged", "not_asked")
Counts = Callable[[], tuple[int, ...]]


@pytest.fixture
def counts() -> Counts:
    """The outcomes since the test began, in their order."""

    def now() -> tuple[int, ...]:
        return tuple(int(metrics.DELIVERIES.labels(outcome)._value.get()) for outcome in OUTCOMES)

    before = now()
    return lambda: tuple(new - old for new, old in zip(now(), before, strict=True))


def open_session() -> VirtualSession:
    session = VirtualSession(limits=Limits(ping_interval_ms=1_000_000))
    session.open()
    return session


def test_what_is_acknowledged_counts_once_and_the_rest_when_the_session_ends(counts: Counts):
    session = open_session()
    session.deliver(event(11), event(12), to=12)
    session.deliver(event(13), event(14, "user:u2"), to=14)
    session.send("ack", cursor=cursor(12))
    session.send("ack", cursor=cursor(12))
    assert counts() == (2, 0, 0)
    session.session.reading.deliveries.end()
    session.session.reading.deliveries.end()
    assert counts() == (2, 1, 0)


def test_a_client_that_never_acknowledges_is_counted_apart(counts: Counts):
    session = open_session()
    session.deliver(event(11), to=11)
    session.session.reading.deliveries.end()
    assert counts() == (0, 0, 1)


def test_what_is_delivered_again_is_no_other_event(counts: Counts):
    session = open_session()
    session.deliver(event(11), to=11)
    session.send("ack", cursor=cursor(11))
    session.deliver(event(12), to=12)
    session.send("pong", n=session.until_ping()["n"], cursor=cursor(11))
    session.deliver(event(12), to=12)
    session.send("ack", cursor=cursor(12))
    session.session.reading.deliveries.end()
    assert counts() == (2, 0, 0)


def test_a_reset_leaves_nobody_to_acknowledge_what_was_before(counts: Counts):
    session = open_session()
    session.deliver(event(11), to=11)
    session.send("ack", cursor=cursor(11))
    session.deliver(event(12), to=12)
    session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    assert counts() == (1, 1, 0)


def test_a_client_that_lags_far_is_counted_in_bounded_memory(counts: Counts):
    session = open_session()
    last = 10 + 3 * MAX_FRAMES
    for seq in range(11, last + 1):
        session.deliver(event(seq), to=seq)
    waiting = session.session.reading.deliveries._waiting
    assert len(waiting) == MAX_FRAMES
    session.send("ack", cursor=cursor(last))
    assert counts() == (3 * MAX_FRAMES, 0, 0)


def test_what_lies_behind_the_bound_is_counted_when_it_is_taken(counts: Counts):
    session = open_session()
    last = 10 + 3 * MAX_FRAMES
    for seq in range(11, last + 1):
        session.deliver(event(seq), to=seq)
    session.send("ack", cursor=cursor(last - 1))
    assert counts() == (MAX_FRAMES, 0, 0)
    session.deliver(event(last + 1), to=last + 1)
    session.send("ack", cursor=cursor(last))
    assert counts() == (3 * MAX_FRAMES, 0, 0)
    session.session.reading.deliveries.end()
    assert counts() == (3 * MAX_FRAMES, 1, 0)

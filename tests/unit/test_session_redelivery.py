"""What a client does not acknowledge is asked for, sent again, and then no more (protocol §3)."""

from chatsync.gateway.effects import Limits
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode
from virtual_session import VirtualSession, closes_with, cursor, event, only_frame, resume


def acknowledging() -> VirtualSession:
    """A session whose client has acknowledged once, and has not yet acknowledged event 6."""
    session = VirtualSession(limits=Limits(ping_interval_ms=1_000_000))
    session.open(resume(4, 4))
    session.deliver(event(5), to=5)
    session.send("ack", cursor=cursor(5))
    session.deliver(event(6), to=6)
    return session


def ask(session: VirtualSession) -> object:
    """Let time pass until the session asks; returns the number of its ping."""
    ping = only_frame(session.until_deadline(), "ping")
    assert ping["cursor"] == cursor(6)
    return ping["n"]


def test_a_client_that_never_acknowledges_is_not_held_to_it():
    session = VirtualSession()
    session.open(resume(4, 4))
    session.deliver(event(5), to=5)
    assert session.pass_time(6) == []


def test_a_client_that_falls_silent_is_asked_after_five_seconds():
    session = acknowledging()
    assert session.pass_time(4.9) == []
    assert only_frame(session.pass_time(0.2), "ping")["cursor"] == cursor(6)
    assert session.pass_time(6) == []


def test_an_answer_below_what_was_sent_brings_it_again():
    session = acknowledging()
    session.send("pong", n=ask(session), cursor=cursor(5))

    frame = only_frame(session.deliver(event(6), to=6), "events")

    assert frame["redelivered"] is True
    assert (frame["from"], frame["to"]) == (cursor(5), cursor(6))
    assert "replay" not in frame
    assert "more" not in frame
    # What comes after it is new.
    assert "redelivered" not in only_frame(session.deliver(event(7), to=7), "events")


def test_an_answer_is_not_judged_while_what_was_sent_has_not_left():
    session = acknowledging()
    number = ask(session)
    session.session.acknowledgement.is_held = True
    session.send("pong", n=number, cursor=cursor(5))
    assert session.session.reading.position == 6

    # The next one is, when there is room again.
    session.session.acknowledgement.is_held = False
    session.send("pong", n=number, cursor=cursor(5))
    assert session.session.reading.position == 5


def test_an_answer_that_has_caught_up_brings_nothing_again():
    session = acknowledging()
    session.send("pong", n=ask(session), cursor=cursor(6))

    assert session.session.reading.position == 6
    assert session.pass_time(6) == []


def test_an_answer_without_a_cursor_says_nothing():
    session = acknowledging()
    session.send("pong", n=ask(session))

    assert session.session.reading.position == 6


def test_a_client_that_moves_between_is_given_time():
    session = acknowledging()
    session.deliver(event(7), to=7)
    number = ask_for(session, 7)
    session.send("ack", cursor=cursor(6))
    session.send("pong", n=number, cursor=cursor(6))

    assert session.session.reading.position == 7


def ask_for(session: VirtualSession, seq: int) -> object:
    ping = only_frame(session.until_deadline(), "ping")
    assert ping["cursor"] == cursor(seq)
    return ping["n"]


def test_after_three_times_in_vain_the_session_ends_and_each_wait_is_longer():
    session = acknowledging()
    waits: list[float] = []
    for _ in range(3):
        asked_at = session.now
        session.send("pong", n=ask(session), cursor=cursor(5))
        waits.append(session.now - asked_at)
        session.deliver(event(6), to=6)
    number = ask(session)

    closes_with(session.send("pong", n=number, cursor=cursor(5)), CloseCode.NOT_ACKNOWLEDGING)

    assert waits == sorted(set(waits))
    assert session.session.state is State.CLOSED


def test_an_acknowledgement_makes_the_count_begin_anew():
    session = acknowledging()
    session.send("pong", n=ask(session), cursor=cursor(5))
    session.deliver(event(6), to=6)
    session.send("ack", cursor=cursor(6))

    assert session.session.acknowledgement.redeliveries == 0

import pytest

from chatsync.gateway.effects import Limits, Start
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode
from virtual_session import (
    HEAD,
    VirtualSession,
    closes_with,
    cursor,
    error_in,
    event,
    only_frame,
    resume,
)


def acknowledge(session: VirtualSession, how: str, given: object) -> list[object]:
    """Acknowledge by either of the two frames that can."""
    return [*session.send(how, n=0, cursor=given, id="a")]


@pytest.fixture(params=["ack", "pong"])
def how(request: pytest.FixtureRequest) -> str:
    return request.param


def test_an_acknowledgement_gets_no_reply(how: str):
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5), to=5)
    assert acknowledge(session, how, cursor(5)) == []
    assert session.session.acknowledgement.position == 5


def test_acknowledgements_are_cumulative(how: str):
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5), event(6), event(7), to=7)
    for seq, known in [(6, 6), (5, 6), (6, 6), (7, 7), (0, 7)]:
        assert acknowledge(session, how, cursor(seq)) == []
        assert session.session.acknowledgement.position == known


def test_an_acknowledgement_beyond_what_was_sent_closes_as_a_bad_frame(how: str):
    session = VirtualSession()
    session.open()
    session.deliver(event(11), to=11)
    assert closes_with(session.send(how, n=0, cursor=cursor(12)), CloseCode.BAD_FRAME) == []


def test_what_was_replayed_so_far_is_what_was_sent(how: str):
    # The head is at 10, and the client has been told of 5.
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5), to=5)
    closes_with(session.send(how, n=0, cursor=cursor(HEAD)), CloseCode.BAD_FRAME)


def test_the_cursor_of_a_ping_may_be_acknowledged(how: str):
    session = VirtualSession()
    session.open()
    session.deliver(event(11, "user:u2"), to=11)
    ping = session.until_ping()
    assert acknowledge(session, how, ping["cursor"]) == []
    assert session.session.acknowledgement.position == 11


def test_an_acknowledgement_of_an_earlier_life_is_ignored(how: str):
    session = VirtualSession()
    session.open()
    session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    assert acknowledge(session, how, cursor(99)) == []
    assert session.session.state is State.OPEN
    assert session.session.acknowledgement.position == 3


def test_an_acknowledgement_of_before_a_reset_in_the_same_life_is_ignored(how: str):
    session = VirtualSession()
    session.open()
    session.answer(lambda it: it.reset(Start("e1", 30, 30, "trimmed")))
    assert acknowledge(session, how, cursor(HEAD)) == []
    assert session.session.acknowledgement.position == 30


@pytest.mark.parametrize("malformed", ["", "e1", "e1.-1", 5, {}, [], False])
def test_a_malformed_acknowledgement_is_an_error(how: str, malformed: object):
    session = VirtualSession()
    session.open()
    assert error_in(session.send(how, n=0, cursor=malformed, id=1), "bad_cursor")["id"] == 1
    assert session.session.state is State.OPEN


def test_an_ack_without_a_cursor_is_an_error_and_a_pong_without_one_is_not():
    session = VirtualSession()
    session.open()
    error_in(session.send("ack"), "bad_cursor")
    assert session.send("pong", n=0) == []
    assert session.send("pong", n=0, cursor=None) == []


def test_a_resumed_session_has_acknowledged_where_it_resumed():
    session = VirtualSession()
    session.open(resume(4))
    assert session.session.acknowledgement.position == 4


def test_a_client_whose_first_acknowledgement_stands_still_is_held_to_it():
    session = VirtualSession(limits=Limits(ping_interval_ms=1_000_000))
    session.open(resume(4, 4))
    session.deliver(event(5), to=5)
    session.send("ack", cursor=cursor(4))
    assert session.session.next_deadline() <= session.now + 5
    ping = only_frame(session.until_deadline(), "ping")
    session.send("pong", n=ping["n"], cursor=cursor(4))
    assert only_frame(session.deliver(event(5), to=5), "events")["redelivered"] is True

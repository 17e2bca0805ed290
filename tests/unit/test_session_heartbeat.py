import pytest

from chatsync.gateway.effects import Limits
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode
from virtual_session import (
    HEAD,
    VirtualSession,
    closes_with,
    cursor,
    event,
    only_frame,
    resume,
)

INTERVAL = 25.0


def test_the_first_ping_comes_within_an_interval_and_not_with_everybody_elses():
    moments: set[float] = set()
    for _ in range(40):
        session = VirtualSession()
        session.open()
        moments.add(session.session.next_deadline() - session.now)
    assert all(0 < moment <= INTERVAL for moment in moments)
    assert len(moments) > 20


def test_nothing_is_sent_before_the_ping_is_due():
    session = VirtualSession()
    session.open()
    due = session.session.next_deadline()
    assert session.pass_time(due - session.now - 0.001) == []
    assert only_frame(session.pass_time(0.002))["type"] == "ping"


def test_pings_come_every_interval_and_are_numbered():
    session = VirtualSession(limits=Limits(ping_interval_ms=1000))
    session.open()
    assert session.until_ping()["n"] == 1
    session.send("pong", n=1)
    for number in (2, 3, 4):
        assert session.pass_time(0.999) == []
        assert only_frame(session.pass_time(0.001))["n"] == number
        session.send("pong", n=number)


def test_two_unanswered_pings_close_the_session_when_the_third_is_due():
    session = VirtualSession()
    session.open()
    session.until_ping()
    session.until_ping()
    assert session.pass_time(INTERVAL - 0.001) == []
    assert closes_with(session.pass_time(0.001), CloseCode.HEARTBEAT_MISSED) == []


def test_one_unanswered_ping_is_forgiven():
    session = VirtualSession()
    session.open()
    for number in range(1, 12, 2):
        assert session.until_ping()["n"] == number
        assert session.until_ping()["n"] == number + 1
        session.send("pong", n=number + 1)
    assert session.session.state is State.OPEN


def test_other_frames_do_not_answer_a_ping():
    session = VirtualSession()
    session.open()
    session.until_ping()
    session.send("ping", n=1)
    session.until_ping()
    session.send("ack", cursor=cursor(HEAD))
    closes_with(session.until_deadline(), CloseCode.HEARTBEAT_MISSED)


def test_the_round_trip_is_measured_and_told_with_the_next_ping():
    session = VirtualSession()
    session.open()
    ping = session.until_ping()
    assert "rttMs" not in ping
    session.now += 0.123
    session.send("pong", n=ping["n"])
    assert session.until_ping()["rttMs"] == 123


@pytest.mark.parametrize("number", [0, 2, -1, "1", None, 1.5, [1]])
def test_an_answer_to_another_ping_measures_nothing(number: object):
    session = VirtualSession()
    session.open()
    session.until_ping()
    session.now += 0.5
    assert session.send("pong", n=number) == []
    assert "rttMs" not in session.until_ping()


def test_a_pong_that_nobody_asked_for_changes_nothing():
    session = VirtualSession()
    session.open()
    assert session.send("pong", n=0) == []
    assert "rttMs" not in session.until_ping()


def test_the_cursor_of_a_ping_says_that_everything_up_to_it_was_sent():
    session = VirtualSession()
    session.open()
    assert session.until_ping()["cursor"] == cursor(HEAD)
    session.send("pong", n=1)
    session.deliver(event(11), to=11)
    session.deliver(event(12, "user:u2"), to=12)
    assert session.until_ping()["cursor"] == cursor(12)
    # Since it was told, the next frame begins there.
    assert only_frame(session.deliver(event(13), to=13))["from"] == cursor(12)


def test_a_ping_does_not_speak_for_what_a_replay_has_still_to_send():
    session = VirtualSession()
    session.open(resume(4))
    assert session.until_ping()["cursor"] == cursor(4)
    session.deliver(event(5), event(6, "user:u2"), to=6)
    session.deliver(event(7, "user:u2"), to=7)
    session.send("pong", n=1)
    # Nothing for this session lies between the last frame and the position.
    assert session.until_ping()["cursor"] in {cursor(6), cursor(7)}
    session.deliver(*(event(n, "user:u2") for n in (8, 9, 10)), to=10)
    session.send("pong", n=2)
    assert session.until_ping()["cursor"] == cursor(10)


def test_a_ping_during_a_sync_does_not_speak_for_what_is_still_to_come():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(6), id=1)
    session.answer(lambda it: it.located(resume(6)))
    assert session.until_ping()["cursor"] == cursor(6)


@pytest.mark.parametrize("n", [1, 0, -5, "x", 1.5, "é"])
def test_a_clients_ping_is_answered_with_its_number_and_the_time(n: object):
    session = VirtualSession()
    session.open()
    pong = only_frame(session.send("ping", n=n), "pong")
    assert pong["n"] == n
    assert pong["timestamp"].endswith("Z")
    assert len(pong["timestamp"]) == len("2026-11-20T00:00:00.000Z")


def test_a_clients_ping_without_a_number_is_answered_without_one():
    session = VirtualSession()
    session.open()
    assert "n" not in only_frame(session.send("ping"), "pong")


def test_a_clock_that_stands_still_sends_one_ping():
    session = VirtualSession()
    session.open()
    session.until_ping()
    assert session.pass_time(0.0) == []

import pytest

from chatsync.errors import Unavailable
from chatsync.gateway.effects import Limits, Locate, Start
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode, Cursor
from virtual_session import (
    EPOCH,
    HEAD,
    VirtualSession,
    closes_with,
    cursor,
    error_in,
    event,
    only_frame,
    resume,
)


def test_sync_asks_whether_the_log_can_be_read_on_from_there():
    session = VirtualSession()
    session.open()
    assert session.send("sync", cursor=cursor(6)) == [Locate(Cursor(EPOCH, 6))]


def test_a_gap_is_repaired_from_the_clients_cursor_and_then_replied_to():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(6), id="gap")
    assert session.answer(lambda it: it.located(resume(6))) == []
    first = only_frame(session.deliver(event(7), event(8), to=8), "events")
    assert (first["from"], first["to"], first.get("more")) == (cursor(6), cursor(8), True)
    second, reply = session.deliver(event(9), event(10), to=10)
    assert isinstance(second, dict)
    assert (second["from"], second["to"]) == (cursor(8), cursor(10))
    assert "more" not in second
    assert reply == {"type": "reply", "id": "gap", "data": {"cursor": cursor(10)}}


def test_a_sync_without_a_gap_is_replied_to_at_once():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(HEAD), id=1)
    reply = only_frame(session.answer(lambda it: it.located(resume(HEAD))))
    assert reply == {"type": "reply", "id": 1, "data": {"cursor": cursor(HEAD)}}


def test_a_sync_over_events_of_others_gets_only_the_reply():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(8), id=1)
    session.answer(lambda it: it.located(resume(8)))
    outputs = session.deliver(event(9, "user:u2"), event(10, "user:u2"), to=10)
    assert only_frame(outputs, "reply")["data"] == {"cursor": cursor(10)}


def test_a_sync_is_replied_to_once():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(9), id=1)
    session.answer(lambda it: it.located(resume(9)))
    assert len(session.deliver(event(10), to=10)) == 2
    assert only_frame(session.deliver(event(11), to=11), "events")["from"] == cursor(10)


def test_a_sync_without_id_gets_the_events_and_no_reply():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(9))
    session.answer(lambda it: it.located(resume(9)))
    assert only_frame(session.deliver(event(10), to=10), "events")["to"] == cursor(10)


def test_two_syncs_at_once_get_one_reply_each():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(8), id="a")
    outputs = session.answer(lambda it: it.located(resume(8)))
    session.send("sync", cursor=cursor(8), id="b")
    outputs += session.answer(lambda it: it.located(resume(8)))
    outputs += session.deliver(event(9), event(10), to=10)
    replied = [it["id"] for it in outputs if isinstance(it, dict) and it["type"] == "reply"]
    assert sorted(replied) == ["a", "b"]


def test_another_request_during_a_sync_keeps_each_id_with_its_own_reply():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(8), id="a")
    session.answer(lambda it: it.located(resume(8)))
    other = only_frame(session.send("unsubscribe", topics=["user"], id="b"), "reply")
    assert other["id"] == "b"
    _, reply = session.deliver(event(9), event(10), to=10)
    assert isinstance(reply, dict)
    assert reply["id"] == "a"


def test_a_sync_that_cannot_be_judged_now_may_be_tried_again():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(9), id=1)
    outputs = session.answer(lambda it: it.refused(Unavailable("away", retry_after_ms=1000)))
    assert error_in(outputs, "unavailable")["id"] == 1
    # Nothing moved: the session reads on where it was.
    assert only_frame(session.deliver(event(11), to=11))["from"] == cursor(HEAD)


def test_a_cursor_beyond_what_was_sent_is_a_bad_cursor():
    session = VirtualSession()
    session.open()
    error = error_in(session.send("sync", cursor=cursor(HEAD + 1), id=1), "bad_cursor")
    assert error["id"] == 1
    assert session.session.state is State.OPEN


def test_a_cursor_that_the_log_has_not_reached_is_a_bad_cursor():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(5, "e2"), id=1)
    outputs = session.answer(lambda it: it.located(Start("e2", 3, 3, "ahead")))
    assert error_in(outputs, "bad_cursor")["id"] == 1


@pytest.mark.parametrize("malformed", [None, "", "e1", "e1.x", 7, {}, "e1.9\n"])
def test_a_malformed_cursor_is_an_error_that_leaves_the_session_open(malformed: object):
    session = VirtualSession()
    session.open()
    assert error_in(session.send("sync", cursor=malformed, id=1), "bad_cursor")["id"] == 1
    assert session.session.state is State.OPEN


@pytest.mark.parametrize("reason", ["trimmed", "epoch"])
def test_a_cursor_that_cannot_be_continued_gets_a_reset_and_an_error_with_its_id(reason: str):
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(2, "old"), id="x")
    reset, error = session.answer(lambda it: it.located(Start("e2", 30, 30, reason)))
    assert reset == {"type": "reset", "reason": reason, "cursor": cursor(30, "e2")}
    assert isinstance(error, dict)
    assert (error["type"], error["code"], error["id"]) == ("error", "reset", "x")
    assert error["data"] == {"reason": reason}
    frame = only_frame(session.deliver(event(31), to=31))
    assert frame["from"] == cursor(30, "e2")


def test_a_reset_during_a_sync_answers_it_too():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(5), id="x")
    session.answer(lambda it: it.located(resume(5)))
    outputs = session.answer(lambda it: it.reset(Start(EPOCH, 30, 30, "trimmed")))
    reset, answer = outputs
    assert isinstance(reset, dict)
    assert isinstance(answer, dict)
    assert reset["type"] == "reset"
    assert answer["id"] == "x"


def test_a_sync_moves_nothing_before_it_is_answered():
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(5), id="x")
    assert only_frame(session.deliver(event(11), to=11))["from"] == cursor(HEAD)


def test_a_sync_does_not_make_what_was_sent_before_unsent():
    # A client may have sent two syncs for one gap, and acknowledge what the first one brought.
    session = VirtualSession()
    session.open()
    session.send("sync", cursor=cursor(6), id="a")
    session.answer(lambda it: it.located(resume(6)))
    session.deliver(*(event(seq) for seq in range(7, 11)), to=10)
    session.send("sync", cursor=cursor(6), id="b")
    session.answer(lambda it: it.located(resume(6)))
    assert session.send("ack", cursor=cursor(10)) == []
    assert session.send("pong", n=1, cursor=cursor(10)) == []
    assert session.send("sync", cursor=cursor(10), id="c") == [Locate(Cursor(EPOCH, 10))]
    assert session.session.acknowledgement.position == 10


def test_what_was_sent_ends_where_the_session_was_reset():
    session = VirtualSession()
    session.open()
    session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    outputs = session.send("ack", cursor=cursor(HEAD, "e2"))
    assert closes_with(outputs, CloseCode.BAD_FRAME) == []


def test_a_sync_during_a_replay_still_ends_with_a_frame_without_more():
    session = VirtualSession()
    session.open(resume(4))
    assert only_frame(session.deliver(event(5), to=5))["more"] is True
    session.send("sync", cursor=cursor(5))
    session.answer(lambda it: it.located(resume(5)))
    frame = only_frame(session.deliver(*(event(n, "user:u2") for n in range(6, 11)), to=10))
    assert frame["to"] == cursor(10)
    assert "more" not in frame


def test_an_answer_that_stands_still_does_not_interrupt_a_sync():
    session = VirtualSession(limits=Limits(ping_interval_ms=1_000_000))
    session.open(resume(4, 4))
    session.deliver(event(5), to=5)
    session.send("ack", cursor=cursor(4))
    ping = session.until_ping()
    session.send("sync", cursor=cursor(4), id=1)
    session.answer(lambda it: it.located(resume(4, 6)))
    session.send("pong", n=ping["n"], cursor=cursor(4))
    frame, reply = session.deliver(event(5), event(6), to=6)
    assert isinstance(frame, dict)
    assert isinstance(reply, dict)
    assert (frame["replay"], frame["to"], reply["id"]) == (True, cursor(6), 1)
    assert "redelivered" not in frame

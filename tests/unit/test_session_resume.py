"""What a session that was away gets: everything in order, and when it is over."""

from chatsync.gateway.effects import Start
from virtual_session import (
    EPOCH,
    HEAD,
    VirtualSession,
    cursor,
    error_in,
    event,
    only_frame,
    resume,
)


def test_a_resumed_session_gets_what_it_missed_in_order():
    session = VirtualSession()
    session.open(resume(7))
    frame = only_frame(session.deliver(event(8), event(9), event(10), to=10), "events")
    assert [each["seq"] for each in frame["events"]] == [8, 9, 10]
    assert (frame["from"], frame["to"]) == (cursor(7), cursor(10))
    assert frame["replay"] is True
    assert "more" not in frame


def test_all_but_the_last_frame_of_a_replay_say_that_there_is_more():
    session = VirtualSession()
    session.open(resume(4))
    frames = [only_frame(session.deliver(event(seq), to=seq)) for seq in range(5, 11)]
    assert [frame.get("more") for frame in frames] == [True] * 5 + [None]
    assert [frame["replay"] for frame in frames] == [True] * 6
    assert [frame["from"] for frame in frames[1:]] == [frame["to"] for frame in frames[:-1]]


def test_the_last_frame_of_a_replay_is_sent_even_when_it_holds_nothing():
    session = VirtualSession()
    session.open(resume(4))
    assert only_frame(session.deliver(event(5), to=5))["more"] is True
    frame = only_frame(session.deliver(*(event(n, "user:u2") for n in range(6, 11)), to=10))
    assert frame["events"] == []
    assert (frame["from"], frame["to"]) == (cursor(5), cursor(10))
    assert frame["replay"] is True
    assert "more" not in frame


def test_a_replay_without_an_event_for_the_session_is_silent():
    session = VirtualSession()
    session.open(resume(4))
    assert session.deliver(event(5, "user:u2"), to=5) == []
    assert session.deliver(*(event(n, "user:u2") for n in range(6, 11)), to=10) == []


def test_pages_without_an_event_for_the_session_are_covered_by_the_next_frame():
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5, "user:u2"), to=5)
    frame = only_frame(session.deliver(event(6), to=6))
    assert (frame["from"], frame["to"]) == (cursor(4), cursor(6))


def test_after_the_replay_frames_are_live():
    session = VirtualSession()
    session.open(resume(9))
    session.deliver(event(10), to=10)
    frame = only_frame(session.deliver(event(11), to=11))
    assert "replay" not in frame
    assert "more" not in frame


def test_a_page_that_reaches_past_the_head_of_then_ends_the_replay():
    session = VirtualSession()
    session.open(resume(9))
    frame = only_frame(session.deliver(event(10), event(11), event(12), to=12))
    assert frame["replay"] is True
    assert "more" not in frame
    assert "replay" not in only_frame(session.deliver(event(13), to=13))


def test_a_session_that_missed_nothing_is_live_at_once():
    session = VirtualSession()
    session.open(resume(HEAD))
    assert "replay" not in only_frame(session.deliver(event(11), to=11))


def test_live_events_for_others_are_covered_by_the_next_frame_for_this_session():
    session = VirtualSession()
    session.open()
    assert session.deliver(event(11, "user:u2"), to=11) == []
    assert session.deliver(event(12, "conversation:1"), to=12) == []
    frame = only_frame(session.deliver(event(13, "user:u1"), to=13))
    assert (frame["from"], frame["to"]) == (cursor(10), cursor(13))


def test_an_event_with_several_topics_comes_once():
    session = VirtualSession()
    session.open()
    frame = only_frame(session.deliver(event(11, "tenant:t1", "user:u1", "conversation:1"), to=11))
    assert [each["seq"] for each in frame["events"]] == [11]


def test_a_reset_begins_anew_at_the_head_of_the_other_life():
    session = VirtualSession()
    session.open()
    outputs = session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    reset = only_frame(outputs, "reset")
    assert (reset["reason"], reset["cursor"]) == ("epoch", cursor(3, "e2"))
    frame = only_frame(session.deliver(event(4), to=4))
    assert (frame["from"], frame["to"]) == (cursor(3, "e2"), cursor(4, "e2"))
    assert "replay" not in frame


def test_a_reset_ends_a_replay():
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5), to=5)
    session.answer(lambda it: it.reset(Start(EPOCH, 20, 20, "trimmed")))
    assert session.deliver(event(21, "user:u2"), to=21) == []
    frame = only_frame(session.deliver(event(22), to=22))
    assert (frame["from"], frame["to"]) == (cursor(20), cursor(22))
    assert "replay" not in frame
    assert "more" not in frame


def test_a_reset_session_keeps_its_topics():
    session = VirtualSession()
    session.open()
    session.subscribe("conversation:1")
    session.answer(lambda it: it.reset(Start(EPOCH, 20, 20, "trimmed")))
    assert session.session.topics == {"tenant:t1", "user:u1", "conversation:1"}


def test_a_request_after_a_reset_is_judged_by_the_new_life():
    session = VirtualSession()
    session.open()
    session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    error_in(session.send("sync", cursor=cursor(4, "e2"), id=1), "bad_cursor")

import pytest

from chatsync.errors import Unavailable
from chatsync.gateway.effects import Authorize, Limits
from chatsync.gateway.outgoing import State
from virtual_session import (
    HEAD,
    VirtualSession,
    cursor,
    error_in,
    event,
    only_frame,
    resume,
)


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("tenant", "tenant:t1"),
        ("user", "user:u1"),
        ("presence", "presence:t1"),
        ("empresa:t1", "tenant:t1"),
        ("atendente:u1", "user:u1"),
        ("conversa:c1", "conversation:c1"),
        ("conversation:c1", "conversation:c1"),
        ("order:42", "order:42"),
        ("conversation:a:b", "conversation:a:b"),
        # Nobody else's: the policy decides about them, not the spelling.
        ("tenant:other", "tenant:other"),
        ("empresa:other", "tenant:other"),
        ("TENANT", "TENANT"),
        ("tenant:*", "tenant:*"),
        ("ten\u0430nt", "ten\u0430nt"),
    ],
)
def test_short_and_other_names_are_spelled_out_before_anyone_is_asked(given: str, spelled: str):
    session = VirtualSession()
    session.open(topics=["conversation:0"])
    assert session.send("subscribe", topics=[given]) == [Authorize((spelled,))]


def test_two_names_of_one_topic_are_one_topic():
    session = VirtualSession()
    session.open()
    asked = session.send("subscribe", topics=["conversa:1", "conversation:1", "conversation:1"])
    assert asked == [Authorize(("conversation:1",))]


def test_a_granted_subscription_is_told_with_the_position_from_which_it_is_live():
    session = VirtualSession()
    session.open()
    session.deliver(event(11, "conversation:1"), to=11)
    session.send("subscribe", topics=["conversation:1"], id="s")
    reply = only_frame(session.answer(lambda it: it.authorized(["conversation:1"], [])))
    assert reply == {
        "type": "reply",
        "id": "s",
        "data": {"topics": ["conversation:1"], "cursor": cursor(11)},
    }
    (frame,) = session.deliver(event(12, "conversation:1"), to=12)
    assert isinstance(frame, dict)
    assert [each["seq"] for each in frame["events"]] == [12]


def test_a_subscription_without_id_is_granted_without_a_word():
    session = VirtualSession()
    session.open()
    assert session.subscribe("conversation:1") == []
    assert "conversation:1" in session.session.topics


def test_one_refused_topic_refuses_the_request_and_is_named():
    session = VirtualSession()
    session.open()
    session.send("subscribe", topics=["conversation:1", "conversation:2"], id=4)
    outputs = session.answer(
        lambda it: it.authorized(["conversation:1", "conversation:2"], ["conversation:2"])
    )
    error = error_in(outputs, "forbidden")
    assert (error["id"], error["retryable"]) == (4, False)
    assert error["data"] == {"topics": ["conversation:2"]}
    assert "conversation:2" in error["message"]
    assert session.session.topics == {"tenant:t1", "user:u1"}
    assert session.session.state is State.OPEN


def test_a_subscription_that_nobody_can_judge_now_may_be_tried_again():
    session = VirtualSession()
    session.open()
    session.send("subscribe", topics=["conversation:1"], id=4)
    error = error_in(
        session.answer(lambda it: it.refused(Unavailable("no database", retry_after_ms=1000))),
        "unavailable",
    )
    assert (error["id"], error["retryable"], error["retryAfterMs"]) == (4, True, 1000)
    assert "conversation:1" not in session.session.topics


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize(
    "topics",
    [None, [], "tenant", 1, {}, [1], [["tenant"]], [""], ["a\0"], ["t", None], ["x" * 201]],
)
def test_topics_of_the_wrong_kind_are_invalid(kind: str, topics: object):
    session = VirtualSession()
    session.open()
    error = error_in(session.send(kind, topics=topics, id=1), "invalid")
    assert error["id"] == 1
    assert "topics" in error["message"]
    assert session.session.topics == {"tenant:t1", "user:u1"}


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_topics_are_not_optional_after_connect(kind: str):
    session = VirtualSession()
    session.open()
    error_in(session.send(kind, id=1), "invalid")


def test_a_session_holds_no_more_topics_than_its_limit_however_they_come():
    session = VirtualSession(limits=Limits(topics=3))
    session.open()
    session.subscribe("conversation:1")
    error = error_in(session.send("subscribe", topics=["conversation:2"], id=1), "invalid")
    assert "3" in error["message"]
    # A topic that is held already takes no place, and one that is given up makes one.
    assert session.send("subscribe", topics=["tenant", "conversa:1"]) != []
    session.answer(lambda it: it.authorized(["tenant:t1", "conversation:1"], []))
    session.send("unsubscribe", topics=["conversa:1"])
    assert session.send("subscribe", topics=["conversation:2"]) == [Authorize(("conversation:2",))]


def test_unsubscribing_takes_effect_at_once_and_says_where():
    session = VirtualSession()
    session.open()
    reply = only_frame(session.send("unsubscribe", topics=["atendente:u1", "user"], id=1))
    assert reply["data"] == {"topics": ["user:u1"], "cursor": cursor(HEAD)}
    assert session.deliver(event(11, "user:u1"), to=11) == []


def test_unsubscribing_from_what_is_not_held_changes_nothing():
    session = VirtualSession()
    session.open()
    reply = only_frame(session.send("unsubscribe", topics=["conversation:9"], id=1), "reply")
    assert reply["data"]["topics"] == ["conversation:9"]
    assert session.session.topics == {"tenant:t1", "user:u1"}


def test_a_session_without_topics_hears_nothing_and_stays_open():
    session = VirtualSession()
    session.open()
    session.send("unsubscribe", topics=["tenant", "user"])
    assert session.deliver(event(11), event(12, "user:u1"), to=12) == []
    assert session.session.state is State.OPEN


def test_a_topic_subscribed_during_a_replay_counts_from_the_position_that_was_told():
    session = VirtualSession()
    session.open(resume(4))
    session.deliver(event(5), event(6, "conversation:1"), to=6)
    session.send("subscribe", topics=["conversation:1"], id=1)
    reply = only_frame(session.answer(lambda it: it.authorized(["conversation:1"], [])))
    assert reply["data"]["cursor"] == cursor(6)
    frame = only_frame(
        session.deliver(*(event(seq, "conversation:1") for seq in (7, 8, 9, 10)), to=10)
    )
    assert [each["seq"] for each in frame["events"]] == [7, 8, 9, 10]

"""What is kept for a device: only what its client said, and for what it held."""

import pytest

from chatsync.gateway.effects import Start
from chatsync.gateway.receipt import Acknowledged
from chatsync.model import Cursor
from virtual_session import EPOCH, HEAD, LIVE, TOPICS, VirtualSession, cursor, event, resume

BOTH = frozenset(TOPICS)


def kept(session: VirtualSession) -> Acknowledged | None:
    return session.session.receipt.acknowledged


def at(seq: int, *topics: str) -> Acknowledged:
    return Acknowledged(Cursor(EPOCH, seq), BOTH | set(topics))


@pytest.mark.parametrize("start", [LIVE, resume(4)])
def test_where_a_session_begins_is_no_receipt(start: Start):
    session = VirtualSession()
    session.open(start)
    session.deliver(*(event(seq) for seq in range(5, 13)), to=12)
    assert kept(session) is None


def test_an_acknowledgement_is_kept_and_none_moves_it_back():
    session = VirtualSession()
    session.open()
    session.deliver(event(11), event(12), to=12)
    session.send("ack", cursor=cursor(12))
    session.send("ack", cursor=cursor(11))
    assert kept(session) == at(12)


def test_the_answer_to_a_ping_is_kept_as_well():
    session = VirtualSession()
    session.open()
    session.deliver(event(11), to=11)
    session.send("pong", n=1, cursor=cursor(11))
    assert kept(session) == at(11)


def test_what_is_beyond_or_of_another_life_is_not_kept():
    session = VirtualSession()
    session.open()
    session.send("ack", cursor=cursor(HEAD, "e0"))
    session.send("ack", cursor=cursor(HEAD + 1))
    assert kept(session) is None


def test_an_added_topic_counts_once_its_position_is_acknowledged():
    session = VirtualSession()
    session.open()
    session.deliver(event(11), event(12), to=12)
    session.subscribe("conversation:1")
    session.send("ack", cursor=cursor(11))
    assert kept(session) == at(11)
    session.deliver(event(13), to=13)
    session.send("ack", cursor=cursor(12))
    assert kept(session) == at(12, "conversation:1")


def test_subscribing_again_to_what_is_held_changes_nothing():
    session = VirtualSession()
    session.open()
    session.deliver(event(11), event(12), to=12)
    session.subscribe("tenant:t1")
    session.send("ack", cursor=cursor(11))
    assert kept(session) == at(11)


def test_a_topic_that_was_given_up_is_not_kept():
    session = VirtualSession()
    session.open()
    session.send("unsubscribe", topics=["user"])
    session.send("ack", cursor=cursor(HEAD))
    assert kept(session) == Acknowledged(Cursor(EPOCH, HEAD), frozenset({"tenant:t1"}))


def test_after_a_reset_the_receipt_stays_where_it_was_until_the_client_speaks():
    session = VirtualSession()
    session.open()
    session.deliver(event(11), to=11)
    session.send("ack", cursor=cursor(11))
    session.answer(lambda it: it.reset(Start("e2", 3, 3, "epoch")))
    assert kept(session) == at(11)
    session.send("ack", cursor="e2.3")
    assert kept(session) == Acknowledged(Cursor("e2", 3), BOTH)

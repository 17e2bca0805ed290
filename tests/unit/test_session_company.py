import pytest

from chatsync.errors import NotFound
from chatsync.gateway.effects import SetStatus, SetTyping
from chatsync.gateway.frames import encode
from chatsync.model import CloseCode
from virtual_session import VirtualSession, error_in, only_frame


def opened() -> VirtualSession:
    session = VirtualSession()
    session.open()
    return session


def test_a_status_is_set_and_answered():
    session = opened()
    assert session.send("presence", status="busy", id=3) == [SetStatus("busy")]
    reply = only_frame(session.answer(lambda it: it.agreed()), "reply")
    assert (reply["id"], reply["data"]) == (3, {})


def test_typing_without_an_id_has_no_answer():
    session = opened()
    assert session.send("typing", conversationId="7", active=True) == [SetTyping("7", True)]
    assert session.answer(lambda it: it.agreed()) == []


@pytest.mark.parametrize("status", [None, "", "offline", "ONLINE", 1, ["online"]])
def test_other_statuses_are_invalid(status: object):
    assert (
        "status" in error_in(opened().send("presence", status=status, id=1), "invalid")["message"]
    )


@pytest.mark.parametrize("conversation", [None, 7, [], True])
def test_a_conversation_is_named_by_a_string(conversation: object):
    error_in(opened().send("typing", conversationId=conversation, active=True), "invalid")


@pytest.mark.parametrize("conversation", ["", "x", "-1", "1a", "1" * 19, "1 "])
def test_an_id_that_no_conversation_has_is_unknown(conversation: str):
    error_in(opened().send("typing", conversationId=conversation, active=True), "not_found")


@pytest.mark.parametrize("active", [None, 1, "true"])
def test_typing_is_active_or_not(active: object):
    error_in(opened().send("typing", conversationId="7", active=active), "invalid")


def test_a_conversation_that_is_not_theirs_is_unknown_and_the_session_stays():
    session = opened()
    session.send("typing", conversationId="7", active=True, id=1)
    error_in(session.answer(lambda it: it.refused(NotFound("unknown conversation"))), "not_found")
    assert session.send("ping", n=1) != []


def test_what_is_ephemeral_moves_no_position_and_follows_no_close():
    session = opened()
    frame = encode("ephemeral", event="typing:stop", topic="conversation:7", data={})
    position = session.session.reading.cursor
    assert only_frame(session.answer(lambda it: it.whisper([frame])), "ephemeral")
    assert session.session.reading.cursor == position
    session.answer(lambda it: it.close(CloseCode.DRAINING, "bye"))
    assert session.answer(lambda it: it.whisper([frame])) == []

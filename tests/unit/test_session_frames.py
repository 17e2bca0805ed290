"""What a client may send, and what is made of everything else."""

import json

import pytest

from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode
from virtual_session import VirtualSession, closes_with, error_in, only_frame

NO_FRAMES = {
    "empty": "",
    "no JSON": "hello",
    "half": '{"type":"ping"',
    "two": '{"type":"ping"}{"type":"ping"}',
    "a list": "[]",
    "a string": '"ping"',
    "a number": "1",
    "null": "null",
    "no type": "{}",
    "type is a number": '{"type":1}',
    "type is null": '{"type":null}',
    "type is a list": '{"type":["ping"]}',
    "NaN": '{"type":"ping","n":NaN}',
    "Infinity": '{"type":"ping","n":Infinity}',
    "-Infinity": '{"type":"ping","n":-Infinity}',
    "deep lists": '{"type":"ping","n":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep objects": '{"type":"ping","n":' + '{"n":' * 10_000 + "1" + "}" * 10_001,
    "an endless number": '{"type":"ping","n":' + "9" * 60_000 + "}",
    "a byte order mark": '\ufeff{"type":"ping"}',
    "a control character": '{"type":"pi\nng"}',
    "binary": None,
}


@pytest.mark.parametrize("text", NO_FRAMES.values(), ids=NO_FRAMES.keys())
@pytest.mark.parametrize("is_open", [False, True], ids=["first", "later"])
def test_what_is_no_frame_closes_as_a_bad_one(text: str | None, is_open: bool):
    session = VirtualSession()
    if is_open:
        session.open(id="an earlier one")
    (error,) = closes_with(session.send_text(text), CloseCode.BAD_FRAME)
    assert (error["code"], error["retryable"]) == ("bad_request", False)
    assert "id" not in error


@pytest.mark.parametrize("kind", ["", "Ping", "CONNECTED", "events", "closing", "__proto__", "é"])
def test_an_unknown_type_is_an_error_that_leaves_the_session_open(kind: str):
    session = VirtualSession()
    session.open()
    assert error_in(session.send(kind, id="q"), "bad_request")["id"] == "q"
    assert session.session.state is State.OPEN


@pytest.mark.parametrize(
    "id_",
    ["a", "", "é😮", "x" * 200, 0, 1, -7, 1.5, 2**53 + 1, 10**30, "0", " 1 ", "\u202e"],
    ids=repr,
)
def test_an_id_comes_back_as_it_was_given(id_: object):
    session = VirtualSession()
    session.open()
    reply = only_frame(session.send("unsubscribe", topics=["conversation:1"], id=id_), "reply")
    assert reply["id"] == id_
    assert type(reply["id"]) is type(id_)
    error = error_in(session.send("sync", cursor="?", id=id_), "bad_cursor")
    assert error["id"] == id_


@pytest.mark.parametrize("id_", [True, False, [], {}, ["a"], {"a": 1}, "x" * 201])
def test_an_id_of_the_wrong_kind_is_invalid_and_not_echoed(id_: object):
    session = VirtualSession()
    session.open()
    error = error_in(session.send("unsubscribe", topics=["tenant"], id=id_), "invalid")
    assert "id" not in error
    assert "id" in error["message"]
    assert "tenant:t1" in session.session.topics


def test_an_error_does_not_carry_the_id_of_an_earlier_frame():
    session = VirtualSession()
    session.open(id="first")
    session.send("sync", cursor="?", id="second")
    assert "id" not in error_in(session.send("nothing known"), "bad_request")


def test_a_null_id_is_no_id():
    session = VirtualSession()
    session.open()
    assert "id" not in error_in(session.send("nothing known", id=None), "bad_request")


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
@pytest.mark.parametrize("field", ["id", "n"])
def test_a_number_too_large_for_json_is_never_sent_back_as_infinity(number: str, field: str):
    session = VirtualSession()
    session.open()
    # Decoding what comes out is the check: Infinity is not JSON, and a browser could not read it.
    outputs = session.send_text(f'{{"type":"ping","{field}":{number}}}')
    assert len(outputs) >= 1
    session = VirtualSession()
    session.open()
    outputs = session.send_text(f'{{"type":"nothing known","{field}":{number}}}')
    assert len(outputs) >= 1


def test_unknown_fields_are_ignored():
    session = VirtualSession()
    session.open()
    assert only_frame(session.send("ping", n=1, colour="red", deep={"a": [1]}))["n"] == 1


def test_hostile_text_comes_back_as_text():
    session = VirtualSession()
    session.open()
    for text in ["</script>", "'; drop table messages; --", "\u202e", "\u2028", "\x7f", "a\\u0000"]:
        assert error_in(session.send("nothing known", id=text), "bad_request")["id"] == text


def test_half_of_a_surrogate_pair_does_not_end_the_session_without_a_word():
    session = VirtualSession()
    session.open()
    error_in(session.send_text('{"type":"nothing known","id":"\\ud800"}'), "bad_request")


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_a_topic_that_utf_8_cannot_hold_is_invalid(kind: str):
    # The database driver could not send it, and the session would end without `closing`.
    session = VirtualSession()
    session.open()
    text = json.dumps({"type": kind, "topics": ["conversation:\ud800"], "id": 1})
    assert error_in(session.send_text(text), "invalid")["id"] == 1

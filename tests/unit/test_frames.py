"""Frames as bytes: decoding, fields, encoding. What a session makes of them is tested with it."""

import json
from typing import Any

import pytest

from chatsync.errors import BadRequest, Conflict, Invalid, RateLimited, RequestError
from chatsync.gateway import frames
from chatsync.model import CloseCode, Event


def test_a_frame_is_an_object_with_a_type():
    assert frames.decode(' {"type": "ping", "n": 1} ') == {"type": "ping", "n": 1}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"type":1}', '{"type":"a","n":NaN}', "[" * 100_000],
    ids=lambda text: text[:20],
)
def test_everything_else_is_a_bad_request(text: str):
    with pytest.raises(BadRequest):
        frames.decode(text)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400 + ".0"])
def test_a_number_that_json_cannot_hold_is_a_bad_request(number: str):
    # Python reads it as infinity, which no JSON can say back.
    with pytest.raises(BadRequest):
        frames.decode(f'{{"type":"ping","n":{number}}}')


def test_topics_come_once_and_in_order():
    assert frames.topics({"topics": ["b", "a", "b", "c", "a"]}) == ["b", "a", "c"]


def test_topics_may_have_a_default_where_the_field_is_absent():
    assert frames.topics({}, ("tenant",)) == ["tenant"]
    with pytest.raises(Invalid):
        frames.topics({})


def test_a_topic_has_up_to_two_hundred_characters():
    assert frames.topics({"topics": ["é" * 200]}) == ["é" * 200]
    with pytest.raises(Invalid, match="topics"):
        frames.topics({"topics": ["é" * 201]})


@pytest.mark.parametrize("topic", ["a\x00b", "\ud800", "a\udfffb"], ids=ascii)
def test_a_topic_that_the_database_cannot_hold_is_invalid(topic: str):
    with pytest.raises(Invalid, match="topics"):
        frames.topics({"topics": ["tenant", topic]})


def test_a_text_field_is_optional_and_a_string():
    assert frames.text({}, "token") is None
    assert frames.text({"token": None}, "token") is None
    assert frames.text({"token": ""}, "token") == ""
    with pytest.raises(Invalid, match="token"):
        frames.text({"token": 1}, "token")


def test_fields_without_a_value_are_left_out():
    assert json.loads(frames.encode("reply", id=None, data=0, more=False)) == {
        "type": "reply",
        "data": 0,
        "more": False,
    }


def test_a_frame_is_compact_utf_8():
    assert frames.encode("reply", id="é😮") == '{"type":"reply","id":"é😮"}'.encode()


@pytest.mark.parametrize("text", ["\ud800", "a\udc00b"], ids=ascii)
def test_what_utf_8_cannot_hold_does_not_break_the_frame(text: str):
    decoded = json.loads(frames.encode("reply", id=text).decode("utf-8"))
    assert decoded["type"] == "reply"


def test_an_error_carries_what_the_client_needs_to_react():
    data: dict[str, object] = {"version": 7}
    assert json.loads(frames.error("x", Conflict("it changed", data=data))) == {
        "type": "error",
        "id": "x",
        "code": "conflict",
        "message": "it changed",
        "retryable": False,
        "data": {"version": 7},
    }
    assert json.loads(frames.error(None, RateLimited("slower", retry_after_ms=250))) == {
        "type": "error",
        "code": "rate_limited",
        "message": "slower",
        "retryable": True,
        "retryAfterMs": 250,
    }


# Protocol §3, error codes and their HTTP status.
CODES = {
    "bad_request": 400,
    "bad_cursor": 400,
    "token_in_url": 400,
    "unauthorized": 401,
    "token_expired": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "reset": 410,
    "too_large": 413,
    "invalid": 422,
    "rate_limited": 429,
    "provider_failed": 502,
    "unavailable": 503,
    "internal": 500,
}


def every_kind(root: type[RequestError]) -> list[type[RequestError]]:
    return [root, *(each for child in root.__subclasses__() for each in every_kind(child))]


@pytest.mark.parametrize("kind", every_kind(RequestError), ids=lambda kind: kind.__name__)
def test_every_request_error_has_a_code_and_status_of_the_protocol(kind: type[RequestError]):
    assert CODES[kind.code] == kind.status
    # Only what time alone may mend is worth trying again.
    assert kind.retryable is (kind.status in {429, 500, 503} and kind is not RequestError)


def decoded(frame: bytes) -> dict[str, Any]:
    return json.loads(frame.decode("utf-8", "strict"))


@pytest.mark.parametrize(
    ("is_replay", "has_more", "flags"),
    [
        (False, False, {}),
        (True, False, {"replay": True}),
        (True, True, {"replay": True, "more": True}),
    ],
)
def test_an_events_frame_says_what_it_covers(
    is_replay: bool, has_more: bool, flags: dict[str, bool]
):
    found = [Event(seq, frozenset({"t"}), f'{{"seq":{seq}}}'.encode()) for seq in (4, 6)]
    frame = frames.events("e1", 3, 9, found, is_replay=is_replay, has_more=has_more)
    assert decoded(frame) == {
        "type": "events",
        "from": "e1.3",
        "to": "e1.9",
        **flags,
        "events": [{"seq": 4}, {"seq": 6}],
    }


def test_an_events_frame_may_hold_nothing():
    frame = frames.events("e1", 3, 9, [], is_replay=True, has_more=False)
    assert decoded(frame)["events"] == []


@pytest.mark.parametrize("code", CloseCode)
def test_closing_gives_every_code_a_window(code: CloseCode):
    frame = decoded(frames.closing(code, "é"))
    assert (frame["code"], frame["reason"]) == (int(code), "é")
    least, most = frame["retryMs"]
    assert 0 <= least <= most <= 30_000


def test_closing_takes_a_window_of_its_own():
    assert decoded(frames.closing(CloseCode.DRAINING, "x", (7, 9)))["retryMs"] == [7, 9]
    # An empty window is a window: come back at once.
    assert decoded(frames.closing(CloseCode.DRAINING, "x", (0, 0)))["retryMs"] == [0, 0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (0.0015, "1970-01-01T00:00:00.001Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (253_402_300_799.0, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(seconds: float, text: str):
    assert frames.timestamp(seconds) == text

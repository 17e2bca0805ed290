import pytest

from chatsync.errors import BadRequest
from chatsync.gateway import frames
from chatsync.gateway.effects import Limits
from chatsync.gateway.http import server_sent
from chatsync.model import Claims, CloseCode, Cursor, Event


def test_a_frame_is_one_event_with_its_position():
    event = Event(3, frozenset({"x"}), b'{"seq":3,"data":{"to":"e.9","cursor":"e.9"}}')
    frame = frames.events("e", 1, 3, [event], is_replay=False, has_more=False)
    assert server_sent.encode(frame) == b"event: events\nid: e.3\ndata: " + frame + b"\n\n"


def test_a_connected_frame_tells_its_own_cursor_whoever_is_connected():
    claims = Claims("t1", '"cursor":"e.9"', "agent", None, 0.0)
    frame = frames.connected(
        None,
        "s",
        claims,
        granted=[],
        denied=[],
        cursor=Cursor("e", 2),
        reason=None,
        limits=Limits(),
    )
    assert server_sent.encode(frame).startswith(b"event: connected\nid: e.2\ndata: ")


@pytest.mark.parametrize("kind", ["ping", "reset"])
def test_a_ping_and_a_reset_tell_a_position(kind: str):
    frame = frames.encode(kind, n=1, cursor="e.2")
    assert server_sent.encode(frame).startswith(f"event: {kind}\nid: e.2\n".encode())


def test_what_has_no_position_leaves_the_last_one():
    farewell = frames.closing(CloseCode.DRAINING, "x")
    assert server_sent.encode(farewell) == b"event: closing\ndata: " + farewell + b"\n\n"
    ephemeral = frames.encode("ephemeral", event="typing:start", data={"cursor": "e.9"})
    assert b"id:" not in server_sent.encode(ephemeral)


def test_what_is_for_those_who_speak_is_left_out():
    assert server_sent.encode(frames.encode("tokenExpiring", inMs=1)) == b""
    assert server_sent.encode(frames.error(None, BadRequest("x"))) == b""


def test_a_frame_of_any_text_is_one_line():
    frame = frames.encode("ephemeral", data="a\nb\r\n\u2028\u0085\0c")
    assert server_sent.encode(frame).count(b"\n") == 3
    assert b"\r" not in server_sent.encode(frame)

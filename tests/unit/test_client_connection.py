"""How a client tells that its connection is over, what its requests become, and how good it is."""

import pytest

from chatsync.client import frames
from chatsync.client.effects import Answer, Renew
from chatsync.client.entries import Frame
from chatsync.errors import (
    Conflict,
    ConnectionLost,
    Forbidden,
    NotFound,
    ProtocolViolation,
    RateLimited,
    TooLarge,
)
from unit.client_side import Side, connected, events, ping, settled
from virtual_session import cursor

SEND: Frame = {"type": "send", "conversationId": "1", "clientId": "c", "message": {"text": "hi"}}
ACCEPT: Frame = {"type": "accept", "conversationId": "1"}


def test_a_greeting_that_does_not_come_is_not_waited_for():
    side = Side()
    side.open()
    side.after(10)
    assert side.has_left
    assert not side.lost().was_open


def test_silence_beyond_a_beat_and_its_grace_ends_the_connection():
    side = settled()
    side.after(34.9)
    assert not side.has_left
    side.told(ping(4))
    side.after(34.9)
    assert not side.has_left
    side.after(0.1)
    assert side.has_left
    assert side.lost().was_stable


def test_whoever_does_not_listen_hears_no_silence():
    side = settled()
    side.protocol.pause()
    side.after(1000)
    side.protocol.listen(side.now)
    side.after(34.9)
    assert not side.has_left
    side.after(0.1)
    assert side.has_left


def test_closing_says_why_and_when_to_come_back():
    side = settled()
    side.told({"type": "closing", "code": 4100, "reason": "restart", "retryMs": [500, 9000]})
    ending = side.lost(1006)
    assert (ending.code, ending.reason, ending.window) == (4100, "restart", (0.5, 9.0))


def test_after_44xx_the_cursor_is_dropped():
    side = settled()
    side.lost(4401)
    assert "cursor" not in side.open()[0]


def test_quality_is_good_until_it_is_slow_or_late():
    side = settled()
    assert side.protocol.quality(side.now) == "good"
    side.told(ping(4, rttMs=299))
    assert side.protocol.quality(side.now) == "good"
    side.told(ping(4, rttMs=300))
    assert side.protocol.quality(side.now) == "poor"
    side.told(ping(4, rttMs=2))
    assert side.protocol.quality(side.now + 25.1) == "poor"
    side.lost()
    assert side.protocol.quality(side.now) == "disconnected"


def test_the_round_trip_is_measured_at_once():
    side = Side(4)
    side.open()
    (probe,) = side.told(connected(4))
    side.now += 0.04
    side.told({"type": "pong", "n": probe["n"], "timestamp": ""})
    assert side.protocol.rtt_ms == pytest.approx(40)


def test_a_token_that_expires_is_renewed_on_the_open_session():
    side = settled()
    side.told({"type": "tokenExpiring", "inMs": 60_000})
    assert side.others == [Renew()]
    side.protocol.refresh("newer")
    (refresh,) = side.sent()
    assert (refresh["type"], refresh["token"]) == ("refresh", "newer")


def test_a_reply_and_an_error_find_their_requests():
    side = settled()
    first = side.request(SEND, is_repeatable=True)
    second = side.request(ACCEPT, is_repeatable=False)
    third = side.request(ACCEPT, is_repeatable=False)
    assert [frame["id"] for frame in side.sent()] == [first, second, third]
    conflict = {
        "type": "error",
        "id": second,
        "code": "conflict",
        "message": "no",
        "retryable": False,
    }
    side.told({**conflict, "data": {"conversation": {"id": "1"}}})
    side.told({"type": "reply", "id": first, "data": {"message": {"id": "9"}}})
    side.told({**conflict, "id": third, "code": "not_found"})
    outcomes = [answer.outcome for answer in side.answers]
    assert [type(outcome) for outcome in outcomes] == [Conflict, dict, NotFound]
    assert isinstance(outcomes[0], Conflict)
    assert outcomes[0].data == {"conversation": {"id": "1"}}


def test_what_is_repeatable_is_sent_again_with_the_same_client_id_and_the_rest_is_given_up():
    side = settled()
    number = side.request(SEND, is_repeatable=True)
    side.request(ACCEPT, is_repeatable=False)
    before = side.sent()[0]
    side.lost()
    (given_up,) = side.answers
    assert isinstance(given_up.outcome, ConnectionLost)
    side.open()
    again = [frame for frame in side.told(connected(4)) if frame["type"] == "send"]
    assert again == [before]
    side.told({"type": "reply", "id": number, "data": {}})
    side.lost()
    side.open()
    assert [frame["type"] for frame in side.told(connected(4))] == ["ping"]


def test_what_is_asked_while_away_is_sent_when_connected():
    side = Side(4)
    side.request(ACCEPT, is_repeatable=False)
    side.lost()
    assert side.answers == []
    side.open()
    assert [frame["type"] for frame in side.told(connected(4))] == ["ping", "accept"]


def test_an_error_that_invites_to_is_tried_again_after_its_time():
    side = settled()
    number = side.request(SEND, is_repeatable=True)
    side.sent()
    refused = {
        "type": "error",
        "id": number,
        "code": "rate_limited",
        "message": "",
        "retryable": True,
    }
    side.told({**refused, "retryAfterMs": 3000})
    assert side.after(2.9) == []
    assert [frame["id"] for frame in side.after(0.1)] == [number]
    assert side.after(5) == []
    assert side.answers == []


def test_a_backlog_of_requests_is_sent_no_faster_than_half_of_what_the_server_allows():
    side = Side(4)
    for _ in range(30):
        side.request(SEND, is_repeatable=True)
    side.open()
    sent = side.told(connected(4, limits={"framesPerSecond": 20, "frameBytes": 1000}))
    assert len(sent) == 11, "a ping and ten requests"
    assert side.protocol.next_deadline() == pytest.approx(side.now + 0.1)
    assert len(side.after(0.5)) == 5
    assert len(side.after(30)) == 10
    assert len(side.after(1)) == 5
    with pytest.raises(TooLarge):
        side.request({**SEND, "message": {"text": "x" * 1000}}, is_repeatable=True)


def test_a_client_takes_only_so_many_requests():
    side = Side()
    for _ in range(1_000):
        side.request(SEND, is_repeatable=True)
    with pytest.raises(RateLimited):
        side.request(SEND, is_repeatable=True)


def test_subscribed_topics_are_asked_for_again_by_the_next_connection():
    side = settled()
    number = side.request({"type": "subscribe", "topics": ["conversa:1"]}, is_repeatable=True)
    side.sent()
    side.told(
        {"type": "reply", "id": number, "data": {"topics": ["conversation:1"], "cursor": cursor(4)}}
    )
    side.lost()
    assert side.open()[0]["topics"] == ["tenant:t1", "user:u1", "conversation:1"]


def test_without_a_way_up_topics_are_changed_by_a_new_connection():
    side = Side(4)
    side.connect(4, "sse")
    side.request({"type": "subscribe", "topics": ["a:1", "b:1"]}, is_repeatable=True)
    side.sent()
    assert side.has_left
    assert side.lost().is_planned
    assert side.protocol.topics.names == ["tenant:t1", "user:u1", "a:1", "b:1"]
    side.has_left = False
    side.connect(4, "sse", topics=["tenant:t1", "a:1"], refused=["b:1"])
    (answer,) = side.answers
    assert isinstance(answer.outcome, Forbidden)
    assert answer.outcome.data == {"topics": ["b:1"]}
    assert not side.has_left


def test_without_a_way_up_nothing_is_acknowledged_and_a_gap_is_a_reconnect():
    side = Side(4)
    side.connect(4, "sse")
    assert side.told(events(4, 5, 5)) == []
    side.take_all()
    assert side.told(ping(6)) == []
    assert side.after(5) == []
    assert not side.protocol.tell({"type": "typing"})
    side.told(events(8, 9, 9))
    assert side.has_left
    side.lost()
    side.open("sse")
    assert str(side.protocol.asked) == cursor(6)


def test_unknown_frames_and_fields_are_of_the_future():
    side = settled()
    assert side.told({"type": "surprise", "cursor": 7}) == []
    assert side.told({**events(4, 5, 5), "surprise": True}) == []
    assert side.numbers() == [5]


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '"x"', "{", "{}", '{"type": 1}', '{"type": "a", "n": NaN}', b"\x00"]
)
def test_what_is_no_frame_is_a_violation(text: str | bytes):
    with pytest.raises(ProtocolViolation):
        frames.decode(text)


BAD_FRAMES: list[Frame] = [
    {"type": "events", "from": cursor(4), "to": cursor(5)},
    {"type": "events", "from": cursor(4), "to": cursor(5), "events": [{}]},
    {"type": "events", "from": "4", "to": cursor(5), "events": []},
    events(4, 6, 6, 5),
    events(4, 6, 5, 5),
    events(4, 6, 7),
    events(4, 6, 4),
    {"type": "ping", "n": 1},
    {"type": "ping", "n": 1, "cursor": cursor(5), "rttMs": "fast"},
    {"type": "reset", "reason": "trimmed"},
    {"type": "closing", "code": "4100"},
    {"type": "closing", "code": 4100, "reason": "", "retryMs": [1]},
    {"type": "closing", "code": 4100, "reason": "", "retryMs": [-1, 5]},
    {"type": "ephemeral", "event": "typing:start"},
]


@pytest.mark.parametrize("frame", BAD_FRAMES, ids=str)
def test_a_frame_of_another_form_is_a_violation(frame: Frame):
    with pytest.raises(ProtocolViolation):
        settled().told(frame)


@pytest.mark.parametrize(
    "frame",
    [
        events(4, 5, 5),
        {**connected(4), "recovered": "yes"},
        {**connected(4), "cursor": None},
        {**connected(4), "topics": "tenant"},
        {**connected(4), "heartbeat": {"intervalMs": True}},
        {**connected(4), "cursor": cursor(4, "e2")},
    ],
    ids=str,
)
def test_a_greeting_of_another_form_is_a_violation(frame: Frame):
    side = Side(4)
    side.open()
    with pytest.raises(ProtocolViolation):
        side.told(frame)


def test_an_answer_to_nothing_is_nobodys():
    side = settled()
    side.told({"type": "reply", "id": "x", "data": {}})
    side.told({"type": "reply", "id": 77})
    side.told({"type": "error", "code": "bad_request", "message": "", "retryable": False})
    assert side.answers == list[Answer]()

import pytest

from chatsync.errors import RateLimited, TokenExpired, Unauthorized, Unavailable
from chatsync.gateway.effects import Limits, Open, Start
from chatsync.gateway.outgoing import State
from chatsync.model import CloseCode, Cursor
from virtual_session import (
    CLAIMS,
    EPOCH,
    HEAD,
    LIVE,
    TOPICS,
    VirtualSession,
    closes_with,
    cursor,
    error_in,
    only_frame,
    resume,
)


def test_connect_asks_the_driver_to_check_token_topics_and_cursor():
    session = VirtualSession()
    asked = session.send("connect", token="a.b.c", cursor=cursor(7), topics=["tenant", "presence"])
    assert asked == [Open("a.b.c", Cursor(EPOCH, 7), ("tenant", "presence"))]


def test_connect_without_topics_asks_for_the_tenant_and_the_user():
    assert VirtualSession().send("connect", token="t") == [Open("t", None, ("tenant", "user"))]


def test_connect_with_a_null_token_or_cursor_is_connect_without_one():
    session = VirtualSession(has_bearer=True)
    assert session.send("connect", token=None, cursor=None) == [
        Open(None, None, ("tenant", "user"))
    ]


def test_a_topic_named_twice_is_asked_for_once_and_in_order():
    asked = VirtualSession().send("connect", token="t", topics=["user", "tenant", "user"])
    assert asked == [Open("t", None, ("user", "tenant"))]


def test_unknown_fields_of_connect_are_ignored():
    session = VirtualSession()
    asked = session.send("connect", token="t", client={"name": "web"}, colour="red")
    assert asked == [Open("t", None, ("tenant", "user"))]


def test_connect_names_its_device():
    asked = VirtualSession().send("connect", token="t", device="phone 1")
    assert asked == [Open("t", None, ("tenant", "user"), "phone 1")]


@pytest.mark.parametrize("device", ["", 1, [], {}, True, "x" * 201, "a\0b", "\ud800"])
def test_a_device_that_cannot_be_kept_ends_the_session(device: object):
    outputs = VirtualSession().send("connect", token="t", device=device)
    (error,) = closes_with(outputs, CloseCode.BAD_FRAME)
    assert error["code"] == "invalid"
    assert "device" in error["message"]


def test_a_header_stands_for_the_token_of_the_frame():
    session = VirtualSession(has_bearer=True)
    assert session.send("connect") == [Open(None, None, ("tenant", "user"))]


def test_without_token_and_header_the_session_is_unauthorized():
    outputs = VirtualSession().send("connect", id=1)
    (error,) = closes_with(outputs, CloseCode.UNAUTHORIZED)
    assert (error["code"], error["id"], error["retryable"]) == ("unauthorized", 1, False)


def test_connected_says_who_where_and_how_fast():
    session = VirtualSession(limits=Limits(frames_per_second=7, topics=9, frame_bytes=2048))
    connected = session.open(id="first")
    assert connected == {
        "type": "connected",
        "id": "first",
        "sessionId": "s1",
        "tenantId": "t1",
        "userId": "u1",
        "recovered": False,
        "reason": "new",
        "cursor": cursor(HEAD),
        "topics": list(TOPICS),
        "heartbeat": {"intervalMs": 25_000, "timeoutMs": 10_000},
        "tokenExpiresAt": "2033-05-18T03:33:20.000Z",
        "limits": {
            "frameBytes": 2048,
            "topics": 9,
            "framesPerSecond": 7,
            "sessionsPerUser": 50,
        },
    }
    assert session.session.claims == CLAIMS


def test_connected_says_how_often_to_reconnect_where_that_is_set():
    session = VirtualSession(limits=Limits(reconnect_max_attempts=7))
    assert session.open()["reconnect"] == {"maxAttempts": 7}


def test_a_token_that_never_ends_is_told_as_the_last_moment_of_a_four_digit_year():
    session = VirtualSession()
    session.send("connect", token="t")
    claims = type(CLAIMS)("t1", "u1", "agent", None, 253_402_300_799.0)
    outputs = session.answer(
        lambda answered: answered.opened(
            claims, TOPICS, [], LIVE, session.now, expires_at=session.now + 1e11
        )
    )
    assert only_frame(outputs)["tokenExpiresAt"] == "9999-12-31T23:59:59.000Z"


def test_connect_grants_what_it_may_and_names_the_rest():
    session = VirtualSession()
    connected = session.open(
        topics=["tenant:t1", "conversation:9", "user:u1"], refused=["conversation:9"]
    )
    assert connected["topics"] == ["tenant:t1", "user:u1"]
    assert connected["refused"] == ["conversation:9"]
    assert session.session.topics == {"tenant:t1", "user:u1"}


def test_connected_has_no_field_refused_when_everything_was_granted():
    assert "refused" not in VirtualSession().open()


@pytest.mark.parametrize("position", [0, 7, HEAD])
def test_a_usable_cursor_is_recovered_and_is_where_the_next_frame_begins(position: int):
    connected = VirtualSession().open(resume(position))
    assert connected["recovered"] is True
    assert connected["cursor"] == cursor(position)
    assert "reason" not in connected


@pytest.mark.parametrize("reason", ["new", "trimmed", "epoch", "ahead"])
def test_an_unusable_cursor_starts_live_from_the_head_with_the_reason(reason: str):
    session = VirtualSession()
    connected = session.open(Start("e2", 31, 31, reason))
    assert (connected["recovered"], connected["reason"]) == (False, reason)
    assert connected["cursor"] == cursor(31, "e2")


@pytest.mark.parametrize(
    "malformed", ["", "10", "e1.", "e1.-1", "e1.01", 10, {}, [], True, "é.1"], ids=repr
)
def test_a_malformed_cursor_closes_as_a_bad_frame(malformed: object):
    outputs = VirtualSession().send("connect", token="t", cursor=malformed, id=3)
    (error,) = closes_with(outputs, CloseCode.BAD_FRAME)
    assert (error["code"], error["id"]) == ("bad_cursor", 3)


@pytest.mark.parametrize("topics", ["tenant", {}, 5, [1], [None], [""], ["a\0b"], ["x" * 201]])
def test_topics_of_the_wrong_kind_close_as_a_bad_frame(topics: object):
    (error,) = closes_with(
        VirtualSession().send("connect", token="t", topics=topics), CloseCode.BAD_FRAME
    )
    assert error["code"] == "invalid"
    assert "topics" in error["message"]


def test_more_topics_than_a_session_may_hold_are_invalid():
    topics = [f"conversation:{number}" for number in range(4)]
    session = VirtualSession(limits=Limits(topics=3))
    (error,) = closes_with(session.send("connect", token="t", topics=topics), CloseCode.BAD_FRAME)
    assert error["code"] == "invalid"


@pytest.mark.parametrize("token", [5, {}, ["t"], True])
def test_a_token_that_is_no_string_closes_as_a_bad_frame(token: object):
    (error,) = closes_with(VirtualSession().send("connect", token=token), CloseCode.BAD_FRAME)
    assert error["code"] == "invalid"
    assert "token" in error["message"]


@pytest.mark.parametrize(
    "kind", ["subscribe", "unsubscribe", "ack", "ping", "pong", "sync", "refresh", "send", ""]
)
def test_any_other_first_frame_is_unauthorized(kind: str):
    outputs = VirtualSession().send(kind, id="x", topics=["tenant"], cursor=cursor(1))
    (error,) = closes_with(outputs, CloseCode.UNAUTHORIZED)
    assert (error["code"], error["id"]) == ("unauthorized", "x")


def test_connecting_twice_is_an_error_and_leaves_the_session_open():
    session = VirtualSession()
    session.open()
    error = error_in(session.send("connect", token="other", id=2), "bad_request")
    assert error["id"] == 2
    assert session.session.state is State.OPEN


def test_without_a_connect_frame_in_time_the_session_closes():
    session = VirtualSession()
    assert session.session.next_deadline() == session.now + 5
    assert session.pass_time(4.999) == []
    assert closes_with(session.pass_time(0.001), CloseCode.NO_CONNECT) == []


def test_a_slow_answer_to_a_connect_frame_in_time_is_no_missing_connect():
    session = VirtualSession()
    session.pass_time(4.9)
    session.send("connect", token="t")
    assert session.pass_time(0.2) == []
    outputs = session.answer(
        lambda answered: answered.opened(
            CLAIMS, TOPICS, [], LIVE, session.now, expires_at=session.now + 3600
        )
    )
    assert only_frame(outputs)["type"] == "connected"


def test_while_a_connect_frame_is_being_answered_nothing_is_overdue():
    # A deadline that has passed and does nothing would keep the driver awake.
    session = VirtualSession()
    session.send("connect", token="t")
    session.pass_time(6)
    assert session.session.next_deadline() > session.now


@pytest.mark.parametrize(
    ("error", "code", "wire"),
    [
        (TokenExpired("the token has expired"), CloseCode.TOKEN_EXPIRED, "token_expired"),
        (Unauthorized("not valid yet"), CloseCode.TOKEN_NOT_YET_VALID, "unauthorized"),
        (Unauthorized("not valid"), CloseCode.UNAUTHORIZED, "unauthorized"),
        (RateLimited("too many sessions"), CloseCode.TOO_MANY_SESSIONS, "rate_limited"),
        (Unavailable("no database", retry_after_ms=9), CloseCode.OVERLOADED, "unavailable"),
    ],
)
def test_a_refused_connect_is_answered_with_its_id_and_closed(
    error: Unauthorized, code: CloseCode, wire: str
):
    session = VirtualSession()
    session.send("connect", token="t", id=77)
    (frame,) = closes_with(session.answer(lambda it: it.refused(error, code)), code)
    assert (frame["code"], frame["id"], frame["message"]) == (wire, 77, error.message)
    assert frame["retryable"] is error.retryable
    assert frame.get("retryAfterMs") == error.retry_after_ms
    assert session.session.state is State.CLOSED


def test_a_socket_may_be_refused_before_it_said_anything():
    session = VirtualSession()
    refused = session.answer(
        lambda it: it.refused(RateLimited("too many sockets"), CloseCode.RATE_LIMITED)
    )
    (frame,) = closes_with(refused, CloseCode.RATE_LIMITED)
    assert "id" not in frame

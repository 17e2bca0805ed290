import pytest

from chatsync.errors import TokenExpired, Unauthorized
from chatsync.gateway.effects import Refresh
from chatsync.gateway.outgoing import State
from chatsync.model import Claims, CloseCode
from virtual_session import CLAIMS, VirtualSession, closes_with, error_in, only_frame


def silent_but_for_pings(session: VirtualSession, seconds: float) -> list[str]:
    """Let time pass deadline by deadline, answering pings; the types of everything else sent."""
    end = session.now + seconds
    sent: list[str] = []
    while session.session.state is State.OPEN and session.session.next_deadline() <= end:
        for output in session.until_deadline():
            assert isinstance(output, dict)
            if output["type"] == "ping":
                session.send("pong", n=output["n"])
            else:
                sent.append(output["type"])
    session.now = max(session.now, end)
    return sent


def test_a_session_ends_with_its_token():
    session = VirtualSession()
    session.open(expires_in=20)
    session.pass_time(19.999)
    closes_with(session.pass_time(0.001), CloseCode.TOKEN_EXPIRED)


def test_a_token_that_ended_while_it_was_checked_ends_the_session_at_once():
    session = VirtualSession()
    session.open(expires_in=-1)
    assert closes_with(session.until_deadline(), CloseCode.TOKEN_EXPIRED) == []


def test_the_client_is_warned_once_and_a_minute_ahead():
    session = VirtualSession()
    session.open(expires_in=200)
    assert silent_but_for_pings(session, 139.999) == []
    session.now = 1_000.0 + 140
    warnings = [it for it in session.pass_time(0) if isinstance(it, dict)]
    assert [it["inMs"] for it in warnings if it["type"] == "tokenExpiring"] == [60_000]
    assert silent_but_for_pings(session, 59) == []


def test_a_token_that_is_short_lived_already_is_warned_of_at_once():
    session = VirtualSession()
    session.open(expires_in=12.5)
    warning = only_frame(session.pass_time(0.25), "tokenExpiring")
    assert warning["inMs"] == 12_250


def test_refresh_asks_the_driver_to_check_the_token():
    session = VirtualSession()
    session.open()
    assert session.send("refresh", token="new") == [Refresh("new")]


def test_a_refreshed_session_lives_as_long_as_its_new_token():
    session = VirtualSession()
    session.open(expires_in=10)
    session.until_deadline()
    session.send("refresh", token="new", id="r")
    claims = Claims("t1", "u1", "supervisor", None, 1_900_000_000.5)
    reply = only_frame(
        session.answer(lambda it: it.refreshed(claims, expires_at=session.now + 300))
    )
    assert reply == {
        "type": "reply",
        "id": "r",
        "data": {"tokenExpiresAt": "2030-03-17T17:46:40.500Z"},
    }
    assert session.session.claims == claims
    assert silent_but_for_pings(session, 239) == []
    assert silent_but_for_pings(session, 2) == ["tokenExpiring"]
    assert session.session.state is State.OPEN


def test_a_refresh_without_id_is_silent():
    session = VirtualSession()
    session.open()
    session.send("refresh", token="new")
    assert session.answer(lambda it: it.refreshed(CLAIMS, expires_at=session.now + 300)) == []


@pytest.mark.parametrize(("tenant", "user"), [("t2", "u1"), ("t1", "u2"), ("u1", "t1")])
def test_a_token_of_somebody_else_closes_the_session(tenant: str, user: str):
    session = VirtualSession()
    session.open()
    session.send("refresh", token="new", id=5)
    claims = Claims(tenant, user, "agent", None, 1.9e9)
    (error,) = closes_with(
        session.answer(lambda it: it.refreshed(claims, expires_at=session.now + 300)),
        CloseCode.IDENTITY_CHANGED,
    )
    assert (error["code"], error["id"]) == ("unauthorized", 5)
    assert session.session.claims == CLAIMS


@pytest.mark.parametrize(
    ("cause", "code"),
    [(TokenExpired("expired"), "token_expired"), (Unauthorized("not valid"), "unauthorized")],
)
def test_a_refresh_with_a_bad_token_leaves_the_old_one_in_force(cause: TokenExpired, code: str):
    session = VirtualSession()
    session.open(expires_in=20)
    session.send("refresh", token="new", id=5)
    assert error_in(session.answer(lambda it: it.refused(cause)), code)["id"] == 5
    assert session.session.state is State.OPEN
    closes_with(session.pass_time(20), CloseCode.TOKEN_EXPIRED)


@pytest.mark.parametrize("token", [None, 5, {}, []])
def test_a_refresh_without_a_token_is_invalid(token: object):
    session = VirtualSession()
    session.open()
    assert error_in(session.send("refresh", token=token, id=5), "invalid")["id"] == 5
    assert session.session.state is State.OPEN


def test_expiry_comes_before_a_missed_heartbeat():
    session = VirtualSession()
    session.open(expires_in=30)
    session.pass_time(25)
    session.now += 1000
    closes_with(session.pass_time(0), CloseCode.TOKEN_EXPIRED)

"""How a session ends: `closing` before every close, and nothing after it."""

import itertools
from collections.abc import Callable

import pytest

from chatsync.errors import Unavailable
from chatsync.gateway.effects import Close, Limits, Start
from chatsync.gateway.outgoing import State
from chatsync.gateway.session import Session
from chatsync.model import CloseCode
from virtual_session import (
    CLAIMS,
    EPOCH,
    HEAD,
    LIVE,
    TOPICS,
    VirtualSession,
    closes_with,
    cursor,
    event,
    only_frame,
    resume,
)


@pytest.mark.parametrize("code", CloseCode)
def test_closing_precedes_every_close_and_says_when_to_return(code: CloseCode):
    session = VirtualSession()
    session.open()
    closing, close = session.answer(lambda it: it.close(code, "because"))
    assert isinstance(closing, dict)
    assert (closing["type"], closing["code"], closing["reason"]) == ("closing", code, "because")
    assert close == Close(code, "because")


@pytest.mark.parametrize(
    ("code", "window"),
    [
        # Protocol §3: 42xx backs off 1-30 s; 45xx does not come back, so its window is empty.
        (CloseCode.OVERLOADED, [1000, 30_000]),
        (CloseCode.RATE_LIMITED, [1000, 30_000]),
        (CloseCode.HEARTBEAT_MISSED, [1000, 30_000]),
        (CloseCode.BAD_FRAME, [0, 0]),
        (CloseCode.TOO_MANY_SESSIONS, [0, 0]),
    ],
)
def test_the_window_follows_the_range_of_the_code(code: CloseCode, window: list[int]):
    session = VirtualSession()
    session.open()
    closing, _ = session.answer(lambda it: it.close(code, "because"))
    assert isinstance(closing, dict)
    assert closing["retryMs"] == window


def test_a_draining_server_gives_each_session_its_own_window():
    session = VirtualSession()
    session.open()
    outputs = session.answer(lambda it: it.close(CloseCode.DRAINING, "restarting", (1500, 2500)))
    closing, close = outputs
    assert isinstance(closing, dict)
    assert (closing["code"], closing["retryMs"]) == (4100, [1500, 2500])
    assert close == Close(CloseCode.DRAINING, "restarting")


def test_a_session_is_closed_once():
    session = VirtualSession()
    session.open()
    session.answer(lambda it: it.close(CloseCode.DRAINING, "restarting"))
    assert session.answer(lambda it: it.close(CloseCode.TOKEN_EXPIRED, "late")) == []


def test_a_session_that_never_connected_can_be_drained():
    session = VirtualSession()
    closes_with(
        session.answer(lambda it: it.close(CloseCode.DRAINING, "restarting")), CloseCode.DRAINING
    )


LATE: dict[str, Callable[[Session], None]] = {
    "opened": lambda it: it.opened(CLAIMS, TOPICS, [], LIVE, 1001.0, expires_at=9e9),
    "refused": lambda it: it.refused(Unavailable("away")),
    "refused and closed": lambda it: it.refused(Unavailable("away"), CloseCode.OVERLOADED),
    "authorized": lambda it: it.authorized(["conversation:1"], []),
    "denied": lambda it: it.authorized(["conversation:1"], ["conversation:1"]),
    "refreshed": lambda it: it.refreshed(CLAIMS, expires_at=9e9),
    "located": lambda it: it.located(resume(HEAD)),
    "located nowhere": lambda it: it.located(Start("e2", 3, 3, "epoch")),
    "located ahead": lambda it: it.located(Start(EPOCH, 3, 3, "ahead")),
    "events": lambda it: it.deliver([event(11)], 11, {}),
    "reset": lambda it: it.reset(Start("e2", 3, 3, "epoch")),
    "a frame": lambda it: it.receive('{"type":"ping"}', 1001.0),
    "a question": lambda it: it.receive('{"type":"subscribe","topics":["user"]}', 1001.0),
    "no frame": lambda it: it.receive("hello", 1001.0),
    "binary": lambda it: it.receive(None, 1001.0),
    "time": lambda it: it.tick(9e9),
    "drain": lambda it: it.close(CloseCode.DRAINING, "restarting"),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_nothing_is_written_after_the_close(late: Callable[[Session], None]):
    # What the driver was asked before the close may be answered after it.
    session = VirtualSession()
    session.open()
    session.send("subscribe", topics=["conversation:1"], id="pending")
    session.answer(lambda it: it.close(CloseCode.DRAINING, "restarting"))
    assert session.answer(late) == []
    assert session.session.state is State.CLOSED


def test_a_session_drained_while_it_connects_stays_closed():
    session = VirtualSession()
    session.send("connect", token="t", id=1)
    session.answer(lambda it: it.close(CloseCode.DRAINING, "restarting"))
    assert session.answer(LATE["opened"]) == []
    assert session.session.state is State.CLOSED


def test_a_flood_of_frames_closes_as_rate_limited():
    session = VirtualSession(limits=Limits(frames_per_second=5))
    session.open()
    outputs = next(
        outputs for _ in range(20) if len(outputs := session.send("ping", n=1, id="x")) > 1
    )
    (error,) = closes_with(outputs, CloseCode.RATE_LIMITED)
    assert (error["code"], error["retryable"]) == ("rate_limited", True)
    assert error["retryAfterMs"] > 0


def burst(session: VirtualSession) -> int:
    """How many frames are taken at once."""
    taken = itertools.takewhile(
        lambda outputs: isinstance(outputs[0], dict) and outputs[0]["type"] == "pong",
        (session.send("ping") for _ in range(1000)),
    )
    return sum(1 for _ in taken)


def test_a_burst_of_two_seconds_worth_is_taken():
    session = VirtualSession(limits=Limits(frames_per_second=50))
    session.open()
    # One of the hundred was `connect`.
    assert burst(session) == 99


def test_frames_at_the_permitted_rate_are_taken_for_ever():
    session = VirtualSession(limits=Limits(frames_per_second=50))
    session.open()
    for _ in range(1000):
        session.now += 1 / 50
        only_frame(session.send("ping"), "pong")


def test_silence_is_not_saved_up_beyond_a_burst():
    session = VirtualSession(limits=Limits(frames_per_second=50))
    session.open()
    session.now += 3600
    assert burst(session) == 100


def test_malformed_frames_count_too():
    session = VirtualSession(limits=Limits(frames_per_second=1))
    session.open()
    session.send("sync", cursor="?")
    closes_with(session.send("sync", cursor="?"), CloseCode.RATE_LIMITED)


def test_an_acknowledgement_beyond_what_was_sent_is_the_clients_last_word():
    session = VirtualSession()
    session.open()
    closes_with(session.send("ack", cursor=cursor(99)), CloseCode.BAD_FRAME)
    assert session.send("ping") == []
    assert session.deliver(event(11), to=11) == []

"""Typing on a virtual clock."""

from collections import deque
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chatsync.events.hint import Typed
from chatsync.gateway.typists import (
    MAX_AT_ONCE,
    RELAY_SECONDS,
    STOP_SECONDS,
    TTL_SECONDS,
    Typists,
)

START = Typed("t1", "1", "ana", "Ana", "s1", True)
STOP = replace(START, is_active=False)


def test_a_start_is_relayed_at_once_and_renewed_no_sooner_than_it_must():
    typists = Typists()
    assert typists.say(START, 0.0) == START
    assert typists.say(START, 0.5) is None
    assert typists.say(START, RELAY_SECONDS - 0.1) is None
    assert typists.say(START, RELAY_SECONDS) == START


def test_a_silence_is_a_stop_once():
    typists = Typists()
    typists.say(START, 0.0)
    assert typists.tick(STOP_SECONDS - 0.1) == ([], [])
    assert typists.tick(STOP_SECONDS) == ([STOP], [])
    assert typists.tick(STOP_SECONDS + 1) == ([], [])
    assert typists.say(STOP, STOP_SECONDS + 2) is None
    assert len(typists) == 0


def test_a_stop_is_relayed_at_once_and_a_hasty_start_after_it_later():
    typists = Typists()
    typists.say(START, 0.0)
    assert typists.say(STOP, 0.1) == STOP
    assert typists.say(STOP, 0.2) is None
    assert typists.say(START, 0.3) is None
    assert typists.tick(1.0) == ([], [])
    assert typists.tick(RELAY_SECONDS) == ([START], [])


def test_a_session_that_ends_stops_what_was_shown_of_it():
    typists = Typists()
    typists.say(START, 0.0)
    typists.say(replace(START, conversation_id="2"), 0.0)
    typists.say(replace(START, session_id="s2"), 0.0)
    typists.say(replace(STOP, conversation_id="2"), 0.1)
    assert typists.leave("s1") == [STOP]
    assert typists.leave("s1") == []


def test_conversations_at_once_are_few():
    typists = Typists()
    told = [typists.say(replace(START, conversation_id=str(n)), 0.0) for n in range(100)]
    assert sum(change is not None for change in told) == MAX_AT_ONCE


def test_what_a_dead_gateway_relayed_ends_by_itself():
    typists = Typists()
    assert typists.hear(START, 0.0)
    assert typists.tick(TTL_SECONDS - 0.1) == ([], [])
    assert typists.tick(TTL_SECONDS) == ([], [STOP])
    assert not typists.hear(STOP, TTL_SECONDS + 1)
    assert len(typists) == 0


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "stop", "tick"]),
        st.floats(0, 2.5),
        st.sampled_from(["s1", "s2"]),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_any_flood_is_bounded_and_ends_where_it_must(actions: list[tuple[str, float, str]]):
    typists, listener = Typists(), Typists()
    now = 0.0
    starts: dict[str, deque[float]] = {"s1": deque(), "s2": deque()}
    told = {"s1": False, "s2": False}
    spoke_at: dict[str, float] = {}

    def relay(change: Typed | None) -> None:
        if change is None:
            return
        listener.hear(change, now)
        if change.is_active:
            times = starts[change.session_id]
            assert not times or now - times[-1] >= RELAY_SECONDS
            times.append(now)
        else:
            assert told[change.session_id], "a stop without a start"
        told[change.session_id] = change.is_active

    for kind, seconds, session in actions:
        now += seconds
        if kind == "tick":
            for change in typists.tick(now)[0]:
                relay(change)
            for each, was_told in told.items():
                assert not was_told or now - spoke_at[each] < STOP_SECONDS
        else:
            if kind == "start":
                spoke_at[session] = now
            relay(typists.say(replace(START, session_id=session, is_active=kind == "start"), now))
    now += STOP_SECONDS + RELAY_SECONDS
    for change in typists.tick(now)[0]:
        relay(change)
    assert told == {"s1": False, "s2": False}
    listener.tick(now + TTL_SECONDS)
    assert len(listener) == 0
    typists.tick(now + 2 * RELAY_SECONDS)
    assert len(typists) == 0

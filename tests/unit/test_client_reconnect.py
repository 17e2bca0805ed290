"""What a close code asks for, how long a client waits, and over what it connects then."""

import pytest

from chatsync.client.ladder import Ladder
from chatsync.client.pace import Pace
from chatsync.client.reconnect import Backoff, Ending, Step, step_after
from chatsync.errors import SessionEnded
from chatsync.model import CloseCode

STEPS = {
    41: Step.RETURN,
    42: Step.BACK_OFF,
    43: Step.RENEW,
    44: Step.FORGET,
    45: Step.STOP,
}


@pytest.mark.parametrize("code", CloseCode)
def test_the_range_of_a_code_is_the_next_step(code: CloseCode):
    assert step_after(code) is STEPS[code // 100]
    assert step_after(code // 100 * 100 + 99) is STEPS[code // 100]


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1012])
def test_a_connection_that_ended_somehow_is_made_again(code: int):
    assert step_after(code) is Step.RETURN


@pytest.mark.parametrize("code", [1011, 1013, 3000, 4000, 4999])
def test_what_is_in_trouble_is_given_time(code: int):
    assert step_after(code) is Step.BACK_OFF


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009])
def test_an_error_of_the_frames_would_come_again(code: int):
    assert step_after(code) is Step.STOP


def windows(ending: Ending, count: int) -> list[tuple[float, float]]:
    """Between what the first waits are drawn."""
    seen: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        seen.append((least, most))
        return most

    backoff = Backoff(Pace(uniform=uniform))
    for _ in range(count):
        backoff.wait(ending, None)
    return seen


def test_waits_are_drawn_from_zero_and_grow_to_half_a_minute():
    assert windows(Ending(1006), 5) == [(0, 5), (0, 10), (0, 20), (0, 30), (0, 30)]


def test_the_servers_window_is_kept_and_grows_only_when_it_did_not_help():
    moved = Ending(4100, window=(0.5, 8.0))
    assert windows(moved, 3) == [(0.5, 8.0), (0.5, 10.0), (0.5, 20.0)]


def test_trouble_waits_for_a_second_at_least():
    assert windows(Ending(4200), 4) == [(1, 6), (1, 11), (1, 21), (1, 30)]
    assert windows(Ending(4201, window=(7.0, 7.0)), 1) == [(7.0, 7.0)]


def test_only_a_stable_connection_begins_the_count_anew():
    backoff = Backoff(Pace(uniform=lambda least, most: most))
    assert backoff.wait(Ending(1006, was_open=True), None) == 5
    assert backoff.wait(Ending(1006, was_open=True), None) == 10
    assert backoff.wait(Ending(1006, was_open=True, was_stable=True), None) == 5


def test_attempts_end_where_they_are_limited():
    backoff = Backoff(Pace())
    backoff.wait(Ending(1006), 2)
    backoff.wait(Ending(1006), 2)
    assert backoff.wait(Ending(is_planned=True), 2) == 0
    with pytest.raises(SessionEnded, match="2 attempts") as caught:
        backoff.wait(Ending(1006), 2)
    assert caught.value.close_code == 1006


PACE = Pace(uniform=lambda least, most: least)


def failing(ladder: Ladder, times: int) -> str:
    for _ in range(times):
        ladder.failed(0.0)
    return ladder.transport


def test_after_three_failures_the_next_transport_is_tried():
    ladder = Ladder(PACE)
    assert failing(ladder, 2) == "websocket"
    assert failing(ladder, 1) == "sse"
    assert failing(ladder, 3) == "poll"
    assert failing(ladder, 3) == "websocket"


def test_what_fell_back_tries_a_websocket_again_and_returns_at_once_if_that_fails():
    ladder = Ladder(PACE)
    failing(ladder, 3)
    ladder.worked(10.0)
    assert ladder.climb_at == 310.0
    ladder.worked(50.0)
    assert ladder.climb_at == 310.0
    ladder.climb()
    assert ladder.transport == "websocket"
    assert ladder.failed(311.0)
    assert ladder.transport == "sse"
    assert ladder.climb_at == 611.0
    ladder.climb()
    ladder.worked(612.0)
    assert failing(ladder, 2) == "websocket"
    assert ladder.climb_at == float("inf")

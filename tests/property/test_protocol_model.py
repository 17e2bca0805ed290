"""The checkers of the session's model, fed with histories that they must not let pass."""

from collections.abc import Callable

import pytest

from chatsync.gateway.effects import Close, Start
from chatsync.model import CloseCode
from protocol_model import Ledger, ModelClient
from virtual_session import Frame, cursor, event

CLOSING: Frame = {"type": "closing", "code": 4100, "reason": "", "retryMs": [0, 1]}
CLOSE = Close(CloseCode.DRAINING, "")
FOREIGN = "user:u2"


def events(begin: int, end: int, *numbers: int, epoch: str = "e1", **flags: bool) -> Frame:
    found = [{"seq": number} for number in numbers]
    frame: Frame = {"type": "events", "from": cursor(begin, epoch), "to": cursor(end, epoch)}
    return {**frame, "events": found, **flags}


def ledger(position: int = 4, head: int = 4) -> Ledger:
    it = Ledger()
    it.held = frozenset({"tenant:t1"})
    it.begin(Start("e1", position, head))
    it.write({"type": "connected", "cursor": cursor(position)})
    return it


def looked(it: Ledger, *numbers: int, to: int) -> Ledger:
    it.look([event(number) for number in numbers], to)
    return it


def test_a_good_history_passes_the_ledger():
    it = looked(ledger(4, 7), 5, to=6)
    it.write(events(4, 6, 5, replay=True, more=True))
    it.settle()
    looked(it, to=7).write(events(6, 7, replay=True))
    looked(it, to=9).write({"type": "ping", "n": 1, "cursor": cursor(9)})
    looked(it, 10, to=10).write(events(9, 10, 10))
    it.settle()
    it.go_back(9)
    looked(it, 10, to=10).write(events(9, 10, 10, redelivered=True))
    it.write(CLOSING)
    it.write(CLOSE)


BAD_FRAMES: dict[str, Frame] = {
    "an event is missing": events(4, 6, 5),
    "an event is twice": events(4, 6, 5, 5, 6),
    "an event is foreign": events(4, 6, 3, 5, 6),
    "events are swapped": events(4, 6, 6, 5),
    "there is nothing in it": events(4, 6),
    "there is a gap before it": events(5, 6, 6),
    "it overlaps the last one": events(3, 6, 5, 6),
    "it covers more than was read": events(4, 7, 5, 6),
    "it covers less than was read": events(4, 5, 5),
    "it is of another life": events(4, 6, 5, 6, epoch="e2"),
    "it says that there is more": events(4, 6, 5, 6, more=True),
    "it says that it is a replay": events(4, 6, 5, 6, replay=True),
    "it says that it comes again": events(4, 6, 5, 6, redelivered=True),
    "a ping overtakes it": {"type": "ping", "n": 1, "cursor": cursor(6)},
    "a ping goes back": {"type": "ping", "n": 1, "cursor": cursor(3)},
    "a reset is somewhere else": {"type": "reset", "reason": "trimmed", "cursor": cursor(5)},
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_the_ledger_refuses_a_frame_that_it_does_not_owe(frame: Frame):
    with pytest.raises(AssertionError):
        looked(ledger(), 5, 6, to=6).write(frame)


def test_the_ledger_misses_a_frame_that_was_not_written():
    with pytest.raises(AssertionError, match="kept back"):
        looked(ledger(), 5, to=5).settle()


def test_the_ledger_misses_the_end_of_a_replay():
    it = looked(ledger(4, 6), 5, to=5)
    it.write(events(4, 5, 5, replay=True, more=True))
    looked(it, to=6)
    with pytest.raises(AssertionError, match="without an end"):
        it.settle()


def test_the_ledger_refuses_an_answer_to_a_sync_that_is_under_way():
    it = looked(ledger(4, 7), to=5)
    with pytest.raises(AssertionError, match="before it was"):
        it.write({"type": "reply", "id": 1, "data": {"cursor": cursor(5)}})


@pytest.mark.parametrize("late", [CLOSING, events(4, 6, 5, 6), {"type": "pong", "timestamp": ""}])
def test_the_ledger_refuses_everything_after_closing(late: Frame):
    it = looked(ledger(), 5, 6, to=6)
    it.write(CLOSING)
    with pytest.raises(AssertionError, match="after `closing`"):
        it.write(late)
    it.write(CLOSE)
    for output in (late, CLOSE):
        with pytest.raises(AssertionError, match="after the close"):
            it.write(output)


def test_the_ledger_refuses_a_close_without_closing():
    with pytest.raises(AssertionError, match="without `closing`"):
        ledger().write(CLOSE)


def client(position: int = 4) -> ModelClient:
    it = ModelClient(["tenant"])
    it.connect()
    it.receive(
        {
            "type": "connected",
            "id": 1,
            "recovered": False,
            "reason": "new",
            "cursor": cursor(position),
        }
    )
    it.outbox.clear()
    return it


def test_a_good_history_passes_the_client():
    it = client()
    it.receive(events(4, 6, 5, 6))
    it.receive(events(4, 6, 5, 6))
    it.receive(events(5, 7, 6, 7))
    it.receive({"type": "ping", "n": 1, "cursor": cursor(8)})
    it.receive(events(8, 9, 9))
    assert it.spans[-1].seen == [5, 6, 7, 9]
    it.saw_all([event(number) for number in (5, 6, 7, 9)] + [event(8, FOREIGN)], "tenant:t1")
    assert [frame["type"] for frame in it.outbox] == ["ack", "ack", "ack", "pong", "ack"]


def test_the_client_asks_for_what_is_missing_and_does_not_move_until_it_comes():
    it = client()
    it.receive(events(6, 7, 7))
    it.receive({"type": "ping", "n": 1, "cursor": cursor(7)})
    assert [frame["type"] for frame in it.outbox] == ["sync", "pong"]
    assert {frame["cursor"] for frame in it.outbox} == {cursor(4)}
    it.receive(events(4, 7, 5, 7))
    assert it.spans[-1].seen == [5, 7]


BAD_HISTORIES: dict[str, Callable[[ModelClient], None]] = {
    "events out of order": lambda it: it.receive(events(4, 6, 6, 5)),
    "an event twice": lambda it: it.receive(events(4, 6, 5, 5)),
    "an event from before": lambda it: it.receive(events(4, 6, 4, 5)),
    "an event from after": lambda it: it.receive(events(4, 6, 5, 7)),
    "another life": lambda it: it.receive(events(4, 6, 5, epoch="e2")),
    "a ping of another life": lambda it: it.receive(
        {"type": "ping", "n": 1, "cursor": cursor(4, "e2")}
    ),
    "an answer to nothing": lambda it: it.receive({"type": "reply", "id": 9}),
    "connected twice": lambda it: it.receive(
        {"type": "connected", "id": 1, "recovered": True, "cursor": cursor(4)}
    ),
    "a close for a bad frame": lambda it: it.receive({**CLOSING, "code": 4500}),
}


@pytest.mark.parametrize("history", BAD_HISTORIES.values(), ids=BAD_HISTORIES.keys())
def test_the_client_refuses_a_bad_history(history: Callable[[ModelClient], None]):
    with pytest.raises(AssertionError):
        history(client())


def test_the_client_refuses_a_second_answer():
    it = client()
    number = it.request("subscribe", topics=["user"])
    it.receive({"type": "reply", "id": number, "data": {}})
    with pytest.raises(AssertionError, match="an answer to nothing"):
        it.receive({"type": "error", "id": number, "code": "forbidden"})


def test_the_client_refuses_what_comes_after_closing():
    it = client()
    it.receive(CLOSING)
    with pytest.raises(AssertionError, match="after `closing`"):
        it.receive(events(4, 5, 5))


def test_the_client_refuses_to_be_recovered_somewhere_else():
    it = client()
    it.connect()
    with pytest.raises(AssertionError, match="somewhere else"):
        it.receive({"type": "connected", "id": 2, "recovered": True, "cursor": cursor(5)})


def test_the_client_misses_an_event_that_a_ping_jumped_over():
    it = client()
    it.receive(events(4, 5, 5))
    it.receive({"type": "ping", "n": 1, "cursor": cursor(7)})
    with pytest.raises(AssertionError, match="7"):
        it.saw_all([event(5), event(6, FOREIGN), event(7)], "tenant:t1")


def test_the_client_notices_an_event_that_was_not_for_it():
    it = client()
    it.receive(events(4, 6, 5, 6))
    with pytest.raises(AssertionError):
        it.saw_none([event(5), event(6, FOREIGN)], FOREIGN)
    it.saw_none([event(5), event(6, FOREIGN, "tenant:t1")], FOREIGN)

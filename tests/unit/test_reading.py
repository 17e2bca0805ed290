import json
from typing import Any

import pytest

from chatsync.gateway.effects import Start
from chatsync.gateway.reading import Reading
from chatsync.model import Cursor, Event
from virtual_session import event, resume

MINE = frozenset({"tenant:t1"})


def reading(start: Start) -> Reading:
    it = Reading()
    it.begin(start)
    return it


def advance(it: Reading, *found: Event, to: int, topics: frozenset[str] = MINE) -> dict[str, Any]:
    frame = it.advance(found, to, topics, {})
    assert frame is not None
    return json.loads(frame)


def test_reading_begins_at_a_usable_cursor():
    it = reading(resume(4, 10))
    assert (it.epoch, it.position, it.told, it.replay_until) == ("e1", 4, 4, 10)
    assert it.cursor == Cursor("e1", 4)


@pytest.mark.parametrize("reason", ["new", "trimmed", "epoch", "ahead", "access"])
def test_reading_begins_at_the_head_for_every_reason(reason: str):
    it = reading(Start("e1", 4, 10, reason))
    assert (it.position, it.told, it.replay_until) == (10, 10, None)


def test_a_cursor_at_the_head_replays_nothing():
    assert reading(resume(10, 10)).replay_until is None


def test_only_events_of_the_sessions_topics_are_in_the_frame():
    frame = advance(
        reading(resume(10, 10)),
        event(11, "tenant:t2"),
        event(12, "user:u1", "tenant:t1"),
        event(13, "conversation:1"),
        event(14),
        event(15, "presence:t1"),
        to=15,
    )
    assert [each["seq"] for each in frame["events"]] == [12, 14]
    assert (frame["from"], frame["to"]) == ("e1.10", "e1.15")


def test_the_event_in_the_frame_is_the_event_of_the_log_byte_for_byte():
    odd = Event(11, MINE, '{"seq":11,"data":{"text":"é\\u2028 \\" 😮"}}'.encode())
    frame = reading(resume(10, 10)).advance([odd], 11, MINE, {})
    assert frame is not None
    assert odd.encoded in frame
    assert json.loads(frame)["events"][0]["data"]["text"] == 'é\u2028 " 😮'


def test_a_page_of_others_moves_the_position_and_not_what_was_told():
    it = reading(resume(10, 10))
    assert it.advance([event(11, "user:u2")], 11, MINE, {}) is None
    assert (it.position, it.told) == (11, 10)


def test_without_topics_nothing_is_framed():
    it = reading(resume(10, 10))
    assert it.advance([event(11)], 11, frozenset(), {}) is None
    assert it.position == 11


def test_an_empty_page_moves_the_position():
    it = reading(resume(10, 10))
    assert it.advance([], 12, MINE, {}) is None
    assert it.position == 12


def test_telling_the_position_makes_the_next_frame_begin_there():
    it = reading(resume(10, 10))
    it.advance([event(11, "user:u2")], 11, MINE, {})
    assert it.tell() == Cursor("e1", 11)
    assert advance(it, event(12), to=12)["from"] == "e1.11"


def test_during_a_replay_the_position_is_not_told():
    it = reading(resume(4, 10))
    it.advance([event(5, "user:u2")], 5, MINE, {})
    assert it.tell() == Cursor("e1", 4)
    assert advance(it, event(6), to=6)["from"] == "e1.4"


def test_beginning_again_forgets_the_replay_before():
    it = reading(resume(4, 10))
    advance(it, event(5), to=5)
    it.begin(Start("e2", 20, 20, "epoch"))
    assert it.replay_until is None
    frame = advance(it, event(21), to=21)
    assert "replay" not in frame
    assert frame["from"] == "e2.20"


def test_what_is_delivered_again_ends_where_the_last_frame_ended():
    it = reading(resume(4, 4))
    advance(it, event(5), event(6), to=6)
    it.advance([event(7, "user:u2"), event(8, "user:u2")], 8, MINE, {})
    it.deliver_again(4)
    frame = advance(it, event(5), event(6), to=6)
    assert (frame["from"], frame["to"], frame["redelivered"]) == ("e1.4", "e1.6", True)
    assert "more" not in frame
    assert "redelivered" not in advance(it, event(9), to=9)


def test_sessions_that_want_the_same_frame_share_its_bytes():
    encoded: dict[object, bytes] = {}
    first, second = reading(resume(10, 10)), reading(resume(10, 10))
    one = first.advance([event(11)], 11, MINE, encoded)
    two = second.advance([event(11)], 11, frozenset({"tenant:t1", "user:u9"}), encoded)
    assert one is not None
    assert one is two
    assert len(encoded) == 1


def test_sessions_that_differ_in_anything_share_no_frame():
    encoded: dict[object, bytes] = {}
    page = [event(11), event(12, "user:u1")]
    both = frozenset({"tenant:t1", "user:u1"})
    readers = [
        (reading(resume(10, 10)), MINE),
        (reading(resume(10, 10)), frozenset({"user:u1"})),
        (reading(resume(10, 10)), both),
        (reading(resume(10, 12)), both),
        (reading(resume(10, 20)), both),
    ]
    behind = reading(resume(9, 9))
    behind.advance([event(10, "user:u2")], 10, both, {})
    readers.append((behind, both))
    frames = [it.advance(page, 12, topics, encoded) for it, topics in readers]
    assert None not in frames
    assert len(set(frames)) == len(readers)


@pytest.mark.parametrize("is_behind_first", [False, True])
def test_pages_that_begin_at_different_places_share_no_frame(is_behind_first: bool):
    # Both were told 5; one has looked through an event for the other alone since.
    encoded: dict[object, bytes] = {}
    ahead, behind = reading(resume(5, 5)), reading(resume(5, 5))
    both = frozenset({"tenant:t1", "user:bob"})
    for_bob, for_all = event(6, "user:bob"), event(7)
    assert ahead.advance([for_bob], 6, MINE, encoded) is None
    turns = [(ahead, [for_all], MINE), (behind, [for_bob, for_all], both)]
    for it, page, topics in reversed(turns) if is_behind_first else turns:
        frame = it.advance(page, 7, topics, encoded)
        assert frame is not None
        assert [each["seq"] for each in json.loads(frame)["events"]] == [each.seq for each in page]


def test_frames_of_two_lives_of_the_log_are_never_confused():
    # A page may still be on its way to one session when the feed begins its next life.
    encoded: dict[object, bytes] = {}
    before = reading(Start("e1", 10, 10))
    after = reading(Start("e2", 10, 10))
    assert before.advance([event(11)], 11, MINE, encoded) is not None
    frame = after.advance([event(11)], 11, MINE, encoded)
    assert frame is not None
    assert json.loads(frame)["to"] == "e2.11"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_frames_cover_the_log_without_gap_or_overlap_whatever_the_page(size: int):
    log = [event(seq, "tenant:t1" if seq % 3 else "user:u2") for seq in range(1, 61)]
    it = reading(resume(0, 40))
    covered, seen = 0, list[int]()
    for start in range(0, 60, size):
        page = log[start : start + size]
        frame = it.advance(page, page[-1].seq, MINE, {})
        if frame is not None:
            decoded = json.loads(frame)
            assert decoded["from"] == f"e1.{covered}"
            covered = int(decoded["to"].removeprefix("e1."))
            seen += [each["seq"] for each in decoded["events"]]
    assert seen == [seq for seq in range(1, 61) if seq % 3 and seq <= covered]
    assert it.tell() == Cursor("e1", 60)

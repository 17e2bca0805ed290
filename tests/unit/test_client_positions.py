"""What a client tells its application, what it acknowledges, and where it goes on."""

import pytest

from chatsync.client.entries import Connected, Event, SnapshotNeeded
from unit.client_side import Side, connected, events, ping, settled
from virtual_session import cursor


def test_the_first_frame_says_who_where_and_what_for():
    hello = Side(4, device="d1").open()[0]
    assert hello == {
        "type": "connect", "id": 1, "token": "jwt", "topics": ["tenant", "user"],
        "cursor": cursor(4), "device": "d1",
    }  # fmt: skip
    assert "cursor" not in Side().open()[0]


def test_an_event_is_told_once_with_all_it_has():
    side = settled()
    frame = events(4, 7, 5)
    frame["events"][0] |= {"data": {"n": 5}, "correlationId": "c"}
    for _ in range(2):
        side.told(frame)
    (event,) = side.items()
    assert event == Event(
        5, "test", ("tenant:t1",), {"n": 5}, "2026-01-01T00:00:00.000Z", "c", cursor(7)
    )


def test_what_overlaps_is_told_from_where_it_is_new():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.told(events(5, 8, 6, 7, 8))
    assert side.numbers() == [5, 6, 7, 8]


def test_only_what_was_taken_is_acknowledged_and_that_once_and_joined():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.told(events(6, 7, 7))
    assert side.after(1) == []
    side.item()
    assert side.after(1) == [], "an event in the hand is not taken"
    side.item()
    side.item()
    assert side.after(0.1) == []
    assert side.after(0.2) == [{"type": "ack", "cursor": cursor(6)}]
    side.item()
    assert side.after(0.2) == [{"type": "ack", "cursor": cursor(7)}]
    assert side.after(1) == []


def test_what_comes_again_is_acknowledged_again():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.take_all()
    side.after(1)
    assert side.told(events(4, 6, 5, 6, redelivered=True)) == [{"type": "ack", "cursor": cursor(6)}]
    assert side.numbers() == []


def test_a_gap_is_asked_for_once_and_nothing_moves_until_it_is_closed():
    side = settled()
    (sync,) = side.told(events(6, 7, 7))
    assert (sync["type"], sync["cursor"]) == ("sync", cursor(4))
    assert side.told(events(7, 8, 8)) == []
    assert side.told(ping(8)) == [{"type": "pong", "n": 1, "cursor": cursor(4)}]
    side.told(events(4, 8, 5, 7, 8))
    side.told({"type": "reply", "id": sync["id"], "data": {"cursor": cursor(8)}})
    assert side.numbers() == [5, 7, 8]
    side.after(20)
    assert not side.has_left


def test_a_gap_that_is_not_repaired_ends_the_connection():
    for answer in ({"type": "error", "code": "unavailable", "retryable": True}, None):
        side = settled()
        (sync,) = side.told(events(6, 7, 7))
        if answer:
            side.told({**answer, "id": sync["id"]})
        else:
            side.after(10)
        assert side.has_left
        assert side.lost().code == 1006
        assert side.open()[0]["cursor"] == cursor(4)


def test_a_ping_moves_the_position_when_nothing_waits():
    side = settled()
    assert side.told(ping(9)) == [{"type": "pong", "n": 1, "cursor": cursor(9)}]
    side.told(events(9, 10, 10))
    assert side.numbers() == [10]


def test_a_pong_of_a_slow_application_acknowledges_nothing_so_that_nothing_comes_again():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.item()
    assert side.told(ping(6)) == [{"type": "pong", "n": 1}]
    side.item()
    assert side.told(ping(6, n=2)) == [{"type": "pong", "n": 2, "cursor": cursor(5)}]
    assert side.told(ping(6, n=3)) == [{"type": "pong", "n": 3}]


def test_the_next_connection_goes_on_after_what_was_taken_and_tells_nothing_twice():
    side = settled()
    side.told(events(4, 8, 5, 6, 7, 8))
    assert [item.seq for item in (side.item(), side.item()) if isinstance(item, Event)] == [5, 6]
    side.lost()
    assert side.connect(5)["cursor"] == cursor(5)
    side.told(events(5, 9, 6, 7, 8, 9, replay=True))
    assert side.numbers() == [7, 8, 9]


def test_what_was_taken_while_it_was_away_is_not_acknowledged_before_it_was_sent_again():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.lost()
    assert side.open()[0]["cursor"] == cursor(4)
    side.item()
    side.item()
    side.item()
    side.told(connected(4))
    assert side.told(ping(4)) == [{"type": "pong", "n": 1, "cursor": cursor(4)}]
    side.told(events(4, 6, 5, 6, replay=True))
    assert side.numbers() == []
    assert side.told(ping(6, n=2)) == [{"type": "pong", "n": 2, "cursor": cursor(6)}]


def test_a_stream_that_resumes_later_than_asked_has_a_gap():
    side = settled()
    side.lost()
    side.connect(6)
    assert [frame["type"] for frame in side.told(events(6, 7, 7))] == ["sync"]


@pytest.mark.parametrize("reason", ["new", "trimmed", "epoch", "ahead"])
def test_without_the_snapshot_no_position_is_kept(reason: str):
    side = Side(None if reason == "new" else 4)
    side.connect(20, reason=reason, epoch="e2")
    first, second = side.items()
    assert isinstance(first, Connected)
    assert second == SnapshotNeeded(reason, cursor(20, "e2"))
    side.told(events(20, 21, 21, epoch="e2"))
    assert side.numbers() == [21]
    side.item()
    assert side.after(1) == [], "an acknowledgement is a position that is kept"
    assert side.told({**ping(21), "cursor": cursor(21, "e2")}) == [{"type": "pong", "n": 1}]
    side.lost()
    assert "cursor" not in side.open()[0]


def test_with_the_snapshot_the_position_is_kept_and_acknowledged():
    side = Side()
    side.connect(20, reason="new")
    side.told(events(20, 21, 21))
    side.take_all()
    assert side.after(1) == [{"type": "ack", "cursor": cursor(21)}]
    side.lost()
    assert side.open()[0]["cursor"] == cursor(21)


def test_a_snapshot_for_an_older_reset_settles_no_newer_one():
    side = Side()
    side.connect(20, reason="new")
    older = side.protocol.progress.snapshots_needed
    side.told({"type": "reset", "reason": "trimmed", "cursor": cursor(30)})
    side.protocol.snapshot_taken(older, side.now)
    assert side.protocol.progress.is_snapshot_due
    assert side.items() == [SnapshotNeeded("trimmed", cursor(30))]


def test_a_reset_drops_what_waits_and_goes_on_at_its_cursor():
    side = settled()
    side.told(events(4, 6, 5, 6))
    side.told({"type": "reset", "reason": "epoch", "cursor": cursor(2, "e2")})
    side.told(events(2, 3, 3, epoch="e2"))
    (needed, event) = side.items()
    assert needed == SnapshotNeeded("epoch", cursor(2, "e2"))
    assert isinstance(event, Event)
    assert event.cursor == cursor(3, "e2")


def test_another_life_without_a_reset_drops_the_cursor():
    side = settled()
    side.told(events(4, 5, 5, epoch="e2"))
    assert side.has_left
    assert side.lost().code == 4400
    assert "cursor" not in side.connect(7, epoch="e2", reason="new")
    assert side.items()[-1] == SnapshotNeeded("epoch", cursor(7, "e2"))


def test_a_device_resumes_where_the_server_remembers_it():
    side = Side(device="d1")
    side.connect(15)
    side.told(events(15, 16, 16))
    assert [type(item) for item in side.items()] == [Connected, Event]
    side.item()
    assert side.after(1) == [{"type": "ack", "cursor": cursor(16)}]


def test_a_device_without_its_snapshot_is_asked_for_it_after_a_reconnect():
    side = Side(device="d1")
    side.connect(20, reason="new")
    side.lost()
    side.connect(20)
    assert side.items()[-1] == SnapshotNeeded("new", cursor(20))

"""What a tenant's sessions share is bounded in bytes."""

from chatsync.events.feed import TenantFeed
from chatsync.events.shared_frames import KEPT_BYTES, SharedFrames


def test_what_is_kept_is_bounded_whatever_the_size_of_a_frame():
    for size in (100, 10_000, 262_144):
        frames, most = SharedFrames(), 0
        for number in range(1000):
            frames[number] = b"x" * size
            assert frames[number]
            assert sum(map(len, frames.values())) <= frames.held_bytes <= KEPT_BYTES
            most = max(most, len(frames))
        assert most > 2


def test_a_frame_that_is_larger_than_all_there_is_room_for_is_shared_alone():
    frames = SharedFrames()
    frames["small"] = b"x"
    frames["large"] = b"x" * KEPT_BYTES
    assert list(frames) == ["large"]
    frames["small"] = b"x"
    assert list(frames) == ["small"]


def test_a_feed_shares_frames_within_these_bounds():
    assert isinstance(TenantFeed("t1").frames, SharedFrames)

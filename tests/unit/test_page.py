"""The newest events as one frame for many are what each session would have been given by itself."""

import random
from itertools import count
from typing import Any

import pytest

from chatsync.events.feed import TenantFeed
from chatsync.gateway import pages
from chatsync.gateway.compression import text_frame
from chatsync.gateway.effects import Start
from chatsync.gateway.page import Page
from chatsync.gateway.reading import Reading
from chatsync.model import Event
from virtual_session import event, resume

MINE = frozenset({"tenant:t1"})


def feed_at(head: int) -> TenantFeed:
    feed = TenantFeed("t1")
    feed.restart("e1", head)
    return feed


def advanced(feed: TenantFeed, *events: Event) -> Page:
    feed.extend(events, 1000)
    return Page(feed)


def level(position: int) -> Reading:
    reading = Reading()
    reading.begin(resume(position, position))
    return reading


def state(reading: Reading) -> dict[str, Any]:
    names = ("position", "told", "sent", "delivered_to", "events_written", "replay_until")
    waiting = list(reading.deliveries._waiting)
    return {name: getattr(reading, name) for name in names} | {"waiting": waiting}


def test_a_page_gives_what_a_session_would_have_found_by_itself() -> None:
    numbers = random.Random(7)
    kinds = ("tenant:t1", "user:u1", "user:u2", "conversation:1")
    held = [frozenset(numbers.sample(kinds, size)) for size in (0, 1, 1, 2, 2, 3) * 4]
    feed, seq = feed_at(10), count(11)
    pairs = [(level(10), level(10)) for _ in held]
    partial = whole = nothing = 0
    for _ in range(40):
        new = [
            event(next(seq), *numbers.sample(kinds, numbers.choice((1, 2))))
            for _ in range(numbers.choice((1, 1, 2, 10)))
        ]
        page = advanced(feed, *new)
        for topics, (one, other) in zip(held, pairs, strict=True):
            assert page.suits(one)
            frame = page.give(one, topics)
            expected = other.advance(new, feed.head, topics, {})
            assert (frame and frame.plain) == (expected and text_frame(expected))
            assert state(one) == state(other)
            wanted = sum(not topics.isdisjoint(each.topics) for each in new)
            nothing += wanted == 0
            whole += wanted == len(new)
            partial += 0 < wanted < len(new)
    assert min(nothing, whole, partial) > 50


def test_those_who_were_told_the_same_share_a_frame() -> None:
    feed = feed_at(10)
    skipping, others = level(10), [level(10), level(10)]
    page = advanced(feed, event(11, "user:u1"))
    assert page.give(skipping, MINE) is None
    for each in others:
        assert page.give(each, frozenset({"user:u1"})) is not None
    page = advanced(feed, event(12), event(13))
    one, two = (page.give(each, MINE) for each in others)
    assert one is two
    assert page.give(skipping, MINE) is not one


@pytest.mark.parametrize(
    "start", [resume(9, 10), Start("e2", 10, 10, "new"), resume(11, 11)], ids=str
)
def test_who_is_not_level_is_not_given_the_page(start: Start) -> None:
    page = advanced(feed_at(10), event(11))
    reading = Reading()
    reading.begin(start)
    assert not page.suits(reading)
    assert page.suits(level(10))


def test_who_was_told_of_more_to_come_is_not_given_the_page() -> None:
    reading = Reading()
    reading.begin(resume(8, 10))
    assert reading.advance([event(9)], 9, MINE, {})
    reading.go_back(resume(10, 10))
    assert not advanced(feed_at(10), event(11)).suits(reading)


def test_what_each_must_look_through_by_itself_is_no_page() -> None:
    changed = Event(11, MINE, b"{}", "access:changed")
    assert not advanced(feed_at(10), changed).suits(level(10))
    large = [Event(seq, MINE, b" " * pages.SOCKET_BYTES) for seq in (11, 12)]
    assert not advanced(feed_at(10), *large).suits(level(10))
    many = [event(seq) for seq in range(11, 12 + pages.PAGE_EVENTS)]
    assert not advanced(feed_at(10), *many).suits(level(10))


def test_where_a_log_began_anew_there_is_no_page() -> None:
    feed = feed_at(10)
    feed.extend([event(11)], 1000)
    feed.restart("e2", 0)
    reading = Reading()
    reading.begin(Start("e2", 0, 0, "new"))
    assert not Page(feed).suits(reading)

"""What a session's user sees: nothing is looked at unless a rule hides something."""

import json
from collections.abc import Sequence
from typing import cast

import pytest

from chatsync.gateway import sight as module
from chatsync.gateway.access import Access
from chatsync.gateway.sight import Sight, about
from chatsync.model import Claims, Event

CLAIMS = Claims("t1", "ana", "agent", None, 0.0)


class Rule:
    """Stands where the database does, and notes what it was asked."""

    def __init__(self, *seen: str) -> None:
        self.seen = set(seen)
        self.asked: list[list[str]] = []

    async def visible(self, _: Claims, subjects: Sequence[str]) -> frozenset[str]:
        self.asked.append(list(subjects))
        return frozenset(self.seen.intersection(subjects))


async def given(sight: Sight, rule: Rule, *found: Event) -> list[int]:
    """The numbers of the events that are given after a look at them."""
    await sight.look(cast(Access, rule), CLAIMS, found)
    return [each.seq for each in sight.visible(found)]


def event(seq: int, *topics: str, kind: str = "message:new", **data: object) -> Event:
    encoded = json.dumps({"seq": seq, "data": data}).encode()
    return Event(seq, frozenset(topics), encoded, kind)


def test_an_event_is_about_its_conversations_and_what_its_data_name():
    assert about(event(1, "tenant:t1", "conversation:7", "user:u1")) == {"conversation:7"}
    new = event(2, "tenant:t1", kind="conversation:new", conversation={"id": "8"})
    assert about(new) == {"conversation:8"}
    contact = event(3, "tenant:t1", kind="contact:updated", contact={"id": "9"})
    assert about(contact) == {"contact:9"}
    assert about(event(4, "tenant:t1", kind="order:paid")) == set()


@pytest.mark.parametrize(
    "data",
    [{}, [], "text", None, {"contact": None}, {"contact": 9}, {"contact": ["id"]}, {"contact": {}}],
)
def test_an_event_that_only_looks_like_ours_is_about_its_topics(data: object):
    encoded = json.dumps({"seq": 1, "data": data}).encode()
    odd = Event(1, frozenset({"tenant:t1", "conversation:7"}), encoded, "contact:updated")
    assert about(odd) == {"conversation:7"}


def test_where_everybody_sees_everything_nothing_is_asked():
    sight = Sight()
    found = [event(1, "conversation:7")]
    assert sight.unknown(found) == []
    assert sight.visible(found) is found


def test_what_is_not_known_is_hidden():
    sight = Sight(is_limited=True)
    found = [event(1, "conversation:7"), event(2, "tenant:t1"), event(3, "conversation:7")]
    assert sight.unknown(found) == ["conversation:7"]
    assert [each.seq for each in sight.visible(found)] == [2]


def test_of_two_conversations_both_must_be_seen():
    sight = Sight(is_limited=True)
    sight._known = {"conversation:1": True, "conversation:2": False}
    both = event(1, "conversation:1", "conversation:2")
    assert sight.visible([both, event(2, "conversation:1")]) == [event(2, "conversation:1")]


def test_a_change_of_access_forgets_what_was_known():
    sight = Sight(is_limited=True)
    sight._known = {"conversation:1": True}
    sight.begin(is_limited=True)
    assert sight.unknown([event(1, "conversation:1")]) == ["conversation:1"]


async def test_what_a_full_memory_forgets_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    sight, rule = Sight(is_limited=True), Rule("conversation:1", "conversation:3")
    assert await given(sight, rule, event(1, "conversation:1"), event(2, "conversation:2")) == [1]
    page = [event(3, "conversation:1"), event(4, "conversation:2"), event(5, "conversation:3")]
    assert await given(sight, rule, *page) == [3, 5]
    assert rule.asked[1:] == [["conversation:1", "conversation:2", "conversation:3"]]


async def test_who_sees_a_contact_is_asked_for_each_page() -> None:
    sight, rule = Sight(is_limited=True), Rule()
    assert await given(sight, rule, event(1, kind="contact:updated", contact={"id": "9"})) == []
    # A conversation with the contact came, which may be seen.
    rule.seen |= {"conversation:5", "contact:9"}
    new = event(2, kind="conversation:new", conversation={"id": "5"})
    news = event(3, kind="contact:updated", contact={"id": "9"})
    assert await given(sight, rule, new, news) == [2, 3]
    rule.seen.remove("contact:9")
    assert await given(sight, rule, event(4, kind="contact:updated", contact={"id": "9"})) == []


async def test_what_is_known_of_a_conversation_is_not_asked_again() -> None:
    sight, rule = Sight(is_limited=True), Rule("conversation:1")
    assert await given(sight, rule, event(1, "conversation:1")) == [1]
    assert sight.unknown([event(2, "conversation:1")]) == []
    assert await given(sight, rule, event(2, "conversation:1")) == [2]
    assert len(rule.asked) == 1

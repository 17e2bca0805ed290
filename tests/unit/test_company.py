"""What one session hears of the others."""

import json
from typing import Any, cast

from chatsync.events.hint import Typed
from chatsync.gateway.access import Access
from chatsync.gateway.audience import Audience
from chatsync.gateway.company import MAX_WAITING, Company
from chatsync.gateway.effects import SetTyping
from chatsync.gateway.outgoing import Outgoing
from chatsync.gateway.presence.presence import Presence
from chatsync.gateway.presence.standing import Standing
from chatsync.gateway.presence.view import View
from chatsync.gateway.typing import Typing
from chatsync.model import Claims

CLAIMS = Claims("t1", "ana", "agent", None, 0.0)


class OneTenant:
    """Stands where presence and typing of a process do, and knows one view."""

    def __init__(self) -> None:
        self.view = View("t1")
        self.typed: list[str] = []

    def enter(self, *_: object) -> None: ...

    def leave(self, *_: object) -> None: ...

    def watch(self, tenant_id: str) -> View:
        assert tenant_id == "t1"
        self.view.watchers += 1
        return self.view

    def unwatch(self, view: View) -> None:
        view.watchers -= 1

    def say(self, typed: Typed) -> None:
        self.typed.append(typed.conversation_id)


def company(place: OneTenant) -> tuple[Company, Audience]:
    audience = Audience()
    made = Company(
        "s1",
        lambda: None,
        presence=cast(Presence, place),
        typing=cast(Typing, place),
        audience=audience,
    )
    made.enter(CLAIMS)
    return made, audience


def taken(company: Company) -> list[Any]:
    return [json.loads(frame)["event"] for frame in company.take()]


def test_the_list_waits_for_the_view_and_comes_once():
    place = OneTenant()
    one, _ = company(place)
    one.hold(frozenset({"presence:t1"}))
    one.mark({"bo"})
    assert one.take() == []
    place.view.load([], 0.0, keeps_missing=False)
    assert taken(one) == ["presence:state"]
    assert one.take() == []


def test_differences_before_the_list_was_written_are_in_the_list():
    place = OneTenant()
    place.view.load([], 0.0, keeps_missing=False)
    one, _ = company(place)
    one.hold(frozenset({"presence:t1"}))
    place.view.set_own("bo", Standing("online", 1, None), 0.0)
    one.mark({"bo"})
    (frame,) = one.take()
    assert [user["userId"] for user in json.loads(frame)["data"]["users"]] == ["bo"]
    place.view.set_own("bo", None, 0.0)
    one.mark({"bo"})
    assert taken(one) == ["presence:update"]


def test_a_topic_given_up_is_silent_and_taken_again_brings_the_list():
    place = OneTenant()
    place.view.load([], 0.0, keeps_missing=False)
    one, audience = company(place)
    one.hold(frozenset({"presence:t1", "conversation:1"}))
    one.take()
    one.whisper("conversation:1", "bo", b'{"event":"typing:start"}')
    one.mark({"bo"})
    one.hold(frozenset())
    assert one.take() == []
    assert place.view.watchers == 0
    assert not list(audience.of("t1", "presence:t1"))
    assert not list(audience.of("t1", "conversation:1"))
    one.hold(frozenset({"presence:t1"}))
    assert taken(one) == ["presence:state"]


def test_a_slow_session_keeps_the_newest_of_each_user_and_no_more_than_so_many():
    one, _ = company(OneTenant())
    one.hold(frozenset({"conversation:1"}))
    for number in range(3):
        one.whisper("conversation:1", "bo", b"%d" % number)
    assert one.take() == [b"2"]
    for number in range(MAX_WAITING + 10):
        one.whisper("conversation:1", f"u{number}", b"%d" % number)
    frames = one.take()
    assert (len(frames), frames[-1]) == (MAX_WAITING, b"%d" % (MAX_WAITING + 9))


def test_a_session_that_left_hears_nothing_and_is_known_to_nobody():
    place = OneTenant()
    one, audience = company(place)
    one.hold(frozenset({"presence:t1", "conversation:1"}))
    one.leave()
    one.leave()
    assert place.view.watchers == 0
    assert not list(audience.of("t1", "conversation:1"))


class Rule:
    """Stands where the database does, and lets everybody type until it is told otherwise."""

    is_open = True

    async def refused_topics(self, _: Claims, topics: list[str]) -> list[str]:
        return [] if self.is_open else topics


async def test_where_one_may_type_is_asked_again_when_access_was_judged_anew():
    place, rule, session = OneTenant(), Rule(), Outgoing()
    one, _ = company(place)

    async def types() -> int:
        await one.carry_out(SetTyping("7", is_active=True), session, cast(Access, rule))
        return len(place.typed)

    assert await types() == 1
    rule.is_open = False
    assert await types() == 2
    one.forget()
    assert await types() == 2
    rule.is_open = True
    assert await types() == 3

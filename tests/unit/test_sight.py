"""What a session's user sees: nothing is looked at unless a rule hides something."""

import json

from chatsync.gateway.sight import Sight, about
from chatsync.model import Event


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

"""Who is online in a tenant, from what this process knows and what others wrote."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatsync.gateway.presence.standing import Standing
from chatsync.gateway.presence.view import MANY, Told, View

ONLINE = Standing("online", 1, None)


def told(user: str, node: str = "n2", standing: Standing = ONLINE) -> Told:
    return Told(user, node, standing, 0.0)


def loaded(*rows: Told) -> View:
    view = View("t1")
    view.load(rows, 0.0, keeps_missing=False)
    return view


def decoded(frame: bytes) -> dict[str, Any]:
    document = json.loads(frame)
    assert document["type"] == "ephemeral"
    assert document["topic"] == "presence:t1"
    return document


def test_nodes_and_this_process_add_up():
    view = loaded(told("ana"), told("ana", "n3", Standing("away", 2, "Ana")))
    assert view.set_own("ana", Standing("busy", 1, None), 0.0)
    (frame,) = view.differences({"ana"})
    assert decoded(frame)["event"] == "presence:update"
    assert decoded(frame)["data"] == {
        "userId": "ana",
        "name": "Ana",
        "status": "online",
        "sessions": 4,
        "lastSeenAt": "1970-01-01T00:00:00.000Z",
    }


def test_whoever_is_gone_is_offline_with_the_name_and_the_time():
    view = loaded()
    view.set_own("ana", Standing("online", 1, "Ana"), 0.0)
    view.set_own("ana", None, 60.0)
    (frame,) = view.differences({"ana"})
    assert decoded(frame)["data"] == {
        "userId": "ana",
        "name": "Ana",
        "status": "offline",
        "sessions": 0,
        "lastSeenAt": "1970-01-01T00:01:00.000Z",
    }
    assert view.users() == []


def test_what_is_said_again_changes_nothing():
    view = loaded(told("ana"))
    assert view.load([told("ana")], 9.0, keeps_missing=False) == set()
    assert not view.set_own("bo", None, 9.0)


def test_a_user_who_moved_to_another_node_did_not_change():
    view = loaded(told("ana", "n2"))
    assert view.load([told("ana", "n3")], 9.0, keeps_missing=False) == set()


def test_of_an_emptied_table_nobody_is_taken_for_gone_for_a_while():
    view = loaded(told("ana"), told("bo"))
    assert view.load([], 9.0, keeps_missing=True) == set()
    assert view.load([told("bo", "n9")], 9.0, keeps_missing=True) == set()
    assert view.load([told("bo", "n9")], 9.0, keeps_missing=False) == {"ana"}


def test_too_many_differences_are_the_whole_list():
    users = {f"u{number}" for number in range(MANY + 10)}
    view = loaded(*(told(user) for user in users))
    (frame,) = view.differences(users)
    assert {user["userId"] for user in decoded(frame)["data"]["users"]} == users
    few = set(sorted(users)[:MANY])
    assert {decoded(frame)["data"]["userId"] for frame in view.differences(few)} == few


def test_frames_are_encoded_once():
    view = loaded(told("ana"))
    assert view.state() is view.state()
    assert view.differences({"ana"})[0] is view.differences({"ana"})[0]


NAMES = st.sampled_from(["a", "b", "c"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(NAMES, st.sampled_from([None, "online", "busy", "away"])),
        st.sets(st.tuples(NAMES, st.sampled_from(["n2", "n3"])), max_size=4),
    ),
    max_size=20,
)


@given(CHANGES, st.sets(st.integers(0, 20)))
def test_a_list_and_the_differences_after_it_are_the_list_at_the_end(
    changes: list[Any], looks: set[int]
):
    view = loaded()
    users = {user["userId"]: user for user in decoded(view.state())["data"]["users"]}
    marked: set[str] = set()
    for number, change in enumerate(changes):
        if isinstance(change, set):
            rows = [told(user, node) for user, node in sorted(change)]
            marked |= view.load(rows, float(number), keeps_missing=False)
        else:
            user, status = change
            standing = None if status is None else Standing(status, 1, None)
            if view.set_own(user, standing, float(number)):
                marked.add(user)
        if number in looks or number == len(changes) - 1:
            for frame in view.differences(marked):
                data = decoded(frame)["data"]
                users[data["userId"]] = data
                if data["status"] == "offline":
                    del users[data["userId"]]
            marked = set()
    assert sorted(users.values(), key=str) == sorted(view.users(), key=str)

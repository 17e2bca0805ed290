"""A delivery goes to the inboxes that its changes name, each in order."""

import json
from typing import Any, cast

import pytest

from chatsync.providers.body import parse_json
from chatsync.providers.whatsapp_cloud import Part, split


def change(number: object = None, mark: object = None) -> dict[str, Any]:
    value: dict[str, Any] = {"mark": mark}
    if number is not None:
        value["metadata"] = {"phone_number_id": number}
    return {"field": "messages", "value": value}


def entry(account: object, *changes: object) -> dict[str, Any]:
    return {"id": account, "changes": list(changes)}


def named(parts: list[Part]) -> list[tuple[str | None, str | None]]:
    return [(part.phone_number_id, part.account_id) for part in parts]


def marks(part: Part) -> list[object]:
    return [it["value"]["mark"] for one in entries_of(part) for it in one["changes"]]


def entries_of(part: Part) -> list[dict[str, Any]]:
    return [cast(dict[str, Any], one) for one in part.entries]


def test_a_delivery_for_one_inbox_is_one_part():
    parts = split({"object": "x", "entry": [entry("waba", change("1", "a"), change("1", "b"))]})
    assert named(parts) == [("1", "waba")]
    assert marks(parts[0]) == ["a", "b"]


def test_each_change_goes_to_its_own_number_in_order():
    parts = split(
        {
            "entry": [
                entry("w1", change("1", "a"), change("2", "b"), change("1", "c")),
                entry("w2", change("3", "d"), change("1", "e")),
            ]
        }
    )
    assert named(parts) == [("1", "w1"), ("2", "w1"), ("3", "w2")]
    assert [marks(part) for part in parts] == [["a", "c", "e"], ["b"], ["d"]]


def test_a_change_keeps_the_account_it_came_from():
    (part,) = split({"entry": [entry("w1", change("1", "a")), entry("w2", change("1", "b"))]})
    assert [one["id"] for one in entries_of(part)] == ["w1", "w2"]


def test_a_change_without_a_number_is_for_the_account_of_its_entry():
    parts = split({"entry": [entry("w1", change(None, "a"), change("1", "b"), change(None, "c"))]})
    assert named(parts) == [(None, "w1"), ("1", "w1")]
    assert marks(parts[0]) == ["a", "c"]


@pytest.mark.parametrize("number", ["", 100, None, [], {}, True])
def test_a_number_of_the_wrong_kind_is_no_number(number: object):
    assert named(split({"entry": [entry("w1", change(number))]})) == [(None, "w1")]


@pytest.mark.parametrize("account", ["", 5, None, [], {}])
def test_an_account_of_the_wrong_kind_is_no_account(account: object):
    assert named(split({"entry": [entry(account, change())]})) == [(None, None)]


@pytest.mark.parametrize("broken", [None, 5, "x", [], True, {"value": None}, {"value": 5}, {}])
def test_a_change_that_cannot_be_read_does_not_take_the_others_with_it(broken: object):
    parts = split({"entry": [entry("w1", broken, change("1", "a"))]})
    assert ("1", "w1") in named(parts)
    (good,) = [part for part in parts if part.phone_number_id == "1"]
    assert marks(good) == ["a"]


@pytest.mark.parametrize("delivery", [{}, *({"entry": it} for it in (None, [], {}, "x", 5))])
def test_a_delivery_without_an_entry_is_one_part_for_nobody(delivery: dict[str, Any]):
    assert split(delivery) == [Part(None, None, [])]


def test_an_entry_that_cannot_be_read_is_kept_for_nobody():
    parts = split({"entry": [None, entry("w1", change("1", "a")), 5, "x", [], {}]})
    assert parts[0] == Part(None, None, [None, 5, "x", [], {}])
    assert named(parts[1:]) == [("1", "w1")]


@pytest.mark.parametrize("changes", [..., None, [], {}, 5])
def test_an_entry_without_changes_is_kept_for_its_account(changes: object):
    raw = {"id": "w1"} if changes is ... else {"id": "w1", "changes": changes}
    assert split({"entry": [raw]}) == [Part(None, "w1", [raw])]


@pytest.mark.parametrize("broken", [None, 5, "x", [], {}, {"value": None}, {"value": []}])
def test_a_change_that_cannot_be_read_is_kept_for_its_account(broken: object):
    assert split({"entry": [entry("w1", broken)]}) == [
        Part(None, "w1", [{"id": "w1", "changes": [broken]}])
    ]


def test_a_part_keeps_the_time_of_its_entries():
    (part, _) = split({"entry": [entry("w1", change(), change("1")) | {"time": 1700000000}]})
    assert part.entries == [{"id": "w1", "time": 1700000000, "changes": [change()]}]


def test_a_part_is_a_delivery_of_its_own():
    delivery = {"entry": [entry("w1", change("1", "olá 😮"), change("2", "b"))]}
    first, second = split(delivery)
    again = split(parse_json(first.body()))
    assert named(again) == [("1", "w1")]
    assert marks(again[0]) == ["olá 😮"]
    assert marks(split(json.loads(second.body()))[0]) == ["b"]


def test_a_thousand_entries_stay_in_order():
    entries = [entry(f"w{number % 3}", change(str(number % 7), number)) for number in range(1000)]
    parts = split({"entry": entries})
    assert len(parts) == 7
    for part in parts:
        number = int(part.phone_number_id or "")
        assert marks(part) == list(range(number, 1000, 7))

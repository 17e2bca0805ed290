"""The matcher of golden frames finds what is wrong; the scenarios are well-formed."""

from typing import Any

import pytest

import contracts
from golden_replay import FOLDER, Mismatch, Node, Values, scenarios

EPOCH = "a" * 32
VERBS = {
    "open", "send", "sendText", "sendBinary", "expect", "expectEvents", "expectClosed", "leave",
    "publish",
}  # fmt: skip


@pytest.fixture
def values() -> Values:
    return Values("t1", "17", lambda user: f"token of {user}")


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": "$absent"}, {}),
        (["$integer", "$string"], [1, "x"]),
        ("$timestamp", "2026-11-21T12:00:00.000Z"),
        ("user:{tenant}/{conversation}", "user:t1/17"),
        ({"a": "$cursor:x", "b": "$cursor:x+2"}, {"a": f"{EPOCH}.4", "b": f"{EPOCH}.6"}),
    ],
)
def test_what_fits_is_matched(values: Values, expected: Any, actual: Any) -> None:
    values.match(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": True}, {"a": 1}),
        ({"a": "$absent"}, {"a": None}),
        ({"a": {"b": 1}}, {"a": 1}),
        (["$integer"], [1, 2]),
        ("$integer", True),
        ("$string", 1),
        ("$timestamp", "2026-11-21T12:00:00Z"),
        ({"a": "$cursor:x", "b": "$cursor:x+2"}, {"a": f"{EPOCH}.4", "b": f"{EPOCH}.5"}),
        ({"a": "$cursor:x", "b": "$cursor:x"}, {"a": f"{EPOCH}.4", "b": f"{'b' * 32}.4"}),
    ],
)
def test_what_does_not_fit_is_found(values: Values, expected: Any, actual: Any) -> None:
    with pytest.raises(Mismatch):
        values.match(expected, actual)


def test_what_is_sent_is_filled_in(values: Values) -> None:
    values.match("$cursor:x", f"{EPOCH}.4")
    sent = {"token": "$token:u1", "cursor": "$cursor:x+1", "topics": ["conversa:{conversation}"]}
    assert values.fill(sent) == {
        "token": "token of u1",
        "cursor": f"{EPOCH}.5",
        "topics": ["conversa:17"],
    }


def test_scenarios_are_named_like_their_files() -> None:
    assert {each["name"] for each in scenarios()} == {path.stem for path in FOLDER.glob("*.json")}


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["name"])
def test_scenarios_use_what_is_documented(scenario: Node) -> None:
    assert set(scenario) == {"name", "description", "steps"}
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for step in scenario["steps"]:
        (verb,) = VERBS & set(step)
        assert f"| `{verb}` |" in readme
        assert set(step) - {verb, "on"} <= ({"from", "to"} if verb == "expectEvents" else set())
        if verb == "expect":
            name = contracts.frame_name(step["expect"]["type"], from_client=False)
            assert set(step["expect"]) <= set(contracts.frames()[name]["properties"])

import json

import pytest

from chatsync.events.hint import EVERYTHING, MAX_PAYLOAD_BYTES, Hint, Typed, in_payloads


@pytest.mark.parametrize(
    "hint",
    [
        Hint(),
        Hint(tenants=frozenset({"t1"})),
        Hint(tenants=frozenset({"t1", "t2"}), queues=frozenset({"inbound"})),
        Hint(probe="nonce"),
        Hint(sessions=frozenset({"s1", "s2"})),
        Hint(outbox=True),
        Hint(frozenset({"é", "a b"}), frozenset({"q"}), "p"),
        EVERYTHING,
    ],
    ids=Hint.encode,
)
def test_a_hint_is_read_as_it_was_written(hint: Hint):
    assert Hint.decode(hint.encode()) == hint


def test_a_payload_does_not_depend_on_the_order_in_which_names_came():
    # PostgreSQL folds equal payloads of one transaction.
    one = Hint(frozenset(["a", "b", "c"])) | Hint(frozenset(["d"]))
    other = Hint(frozenset(["d", "c"])) | Hint(frozenset(["b", "a"]))
    assert one.encode() == other.encode()


def test_hints_add_up():
    both = Hint(frozenset({"a"}), frozenset({"q"})) | Hint(frozenset({"b"}), frozenset({"r"}), "p")
    assert both == Hint(frozenset({"a", "b"}), frozenset({"q", "r"}), "p")
    assert (both | Hint()).probe == "p"
    assert (both | Hint(outbox=True)).outbox
    assert (both | EVERYTHING).is_everything
    assert (EVERYTHING | both).is_everything


@pytest.mark.parametrize("name", ["t{:05}", "é{:05}", "😮{:05}", '"{:05}'])
def test_names_that_do_not_fit_become_a_bare_look(name: str):
    names = [name.format(number) for number in range(2000)]
    largest = 0
    for count in (*range(0, 2000, 25), 2000):
        payload = Hint(frozenset(names[:count])).encode()
        assert len(payload.encode()) <= MAX_PAYLOAD_BYTES < 8000
        largest = max(largest, len(payload))
        decoded = Hint.decode(payload)
        assert decoded.is_everything or decoded.tenants == frozenset(names[:count])
    assert Hint(frozenset(names)).encode() == ""
    # It does not give up early either.
    assert largest > MAX_PAYLOAD_BYTES - 1000


def test_a_payload_of_exactly_the_limit_is_still_names():
    fixed = len(Hint(frozenset({"x"})).encode()) - 1
    fits = Hint(frozenset({"x" * (MAX_PAYLOAD_BYTES - fixed)}))
    assert len(fits.encode()) == MAX_PAYLOAD_BYTES
    assert Hint(frozenset({"x" * (MAX_PAYLOAD_BYTES - fixed + 1)})).encode() == ""


@pytest.mark.parametrize(
    "payload",
    [
        "",
        " ",
        "look",
        "tenant:t1",
        "{",
        "nul",
        '{"tenants":["t1"]',
        "1",
        '"t1"',
        "null",
        "true",
        '["t1"]',
        "9" * 7900,
        "\ufeff{}",
        "[" * 7900,
        '{"tenants":' + "[" * 7800,
        '{"a":' * 1500,
    ],
    ids=lambda payload: ascii(payload[:20]),
)
def test_foreign_garbage_means_look_everywhere(payload: str):
    assert Hint.decode(payload) == EVERYTHING


@pytest.mark.parametrize("value", [None, 1, "t1", {"t1": 1}, True, [1, None, ["t1"], {}]])
def test_names_of_the_wrong_kind_name_nobody(value: object):
    payload = json.dumps({"tenants": value, "queues": value, "probe": 5})
    decoded = Hint.decode(payload)
    assert (decoded.tenants, decoded.queues, decoded.probe) == (frozenset(), frozenset(), None)


def test_a_name_among_garbage_is_still_heard():
    assert Hint.decode('{"tenants":[1,"t1",null]}').tenants == {"t1"}


def test_many_changes_are_cut_into_payloads_that_fit_and_all_arrive():
    typing = [
        Typed("t1", str(number), "é" * (number % 200), "😮" * (number % 150), "s", number % 2 == 0)
        for number in range(500)
    ]
    tenants = [f"tenant-{number:05}" for number in range(2000)]
    payloads = in_payloads(tenants, typing, "me")
    assert all(0 < len(payload.encode()) <= MAX_PAYLOAD_BYTES for payload in payloads)
    hints = [Hint.decode(payload) for payload in payloads]
    assert [typed for hint in hints for typed in hint.typing] == typing
    assert {tenant for hint in hints for tenant in hint.presence} == set(tenants)
    assert {hint.by for hint in hints} == {"me"}
    assert not any(hint.is_everything for hint in hints)


@pytest.mark.parametrize(
    "value", [None, 1, "x", [1], [["t1"]], [["t", "1", "u", None, "s", 1]], [[1] * 6], [{}]]
)
def test_typing_that_is_none_is_nobodys(value: object):
    assert Hint.decode(json.dumps({"typing": value})).typing == ()

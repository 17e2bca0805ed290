"""The checker of histories, fed with bad ones: it finds what is bad in each, and nothing else."""

import random
from dataclasses import replace

import pytest

from crash.history import Record, Rule, Violation, check


def enqueued(n: int, key: str | None = "a") -> list[Record]:
    return [Record("asked", n, key), Record("acknowledged", n, key)]


def given(n: int, worker: str = "one", lease: int = 1) -> Record:
    return Record("given", n, "a", worker, lease)


def effect(n: int, worker: str = "one", lease: int = 1) -> list[Record]:
    return [Record("effect", n, "a", worker, lease), settled(n, worker, lease)]


def called(n: int, worker: str = "one") -> Record:
    return Record("called", n, "a", worker)


def returned(n: int) -> Record:
    return Record("returned", n, "a", "one")


def settled(n: int, worker: str = "one", lease: int = 1) -> Record:
    return Record("settled", n, "a", worker, lease)


def dead(n: int) -> Record:
    return Record("dead", n, "a")


BOTH = [*enqueued(1), *enqueued(2)]

GOOD = {
    "nothing": [],
    "a batch": [*BOTH, given(1), given(2), *effect(1), *effect(2)],
    "calls in a line": [
        *BOTH, given(1), given(2), called(1), returned(1), called(2), settled(1), returned(2),
        settled(2),
    ],
    "a dead letter": [*BOTH, given(1), given(2), settled(1), dead(1), *effect(2)],
    "taken over": [*enqueued(1), given(1), given(1, "two", 2), *effect(1, "two", 2)],
    "given again to the same worker": [
        *enqueued(1), given(1), given(1, lease=2), *effect(1, lease=2),
    ],
    "called by both": [
        *enqueued(1), given(1), called(1), given(1, "two", 2), called(1, "two"), settled(1),
    ],
    "called late again": [
        *BOTH, given(1), called(1), given(1, "two", 2), called(1, "two"), settled(1, "two", 2),
        given(2, "two", 3), called(2, "two"), called(1), settled(2, "two", 3),
    ],
    "an acknowledgement that was lost": [
        Record("asked", 1, "a"), *enqueued(2), given(1), *effect(1), given(2), *effect(2),
    ],
    "an enqueue that was undone": [Record("asked", 1, "a"), *enqueued(2), given(2), *effect(2)],
    "without a key in any order": [
        *enqueued(1, None), *enqueued(2, None),
        *(replace(record, key=None) for record in (given(1), given(2), *effect(2), *effect(1))),
    ],
    "keys beside each other": [
        *enqueued(1, "b"), *enqueued(2), given(2), *effect(2),
        *(replace(record, key="b") for record in (given(1), *effect(1))),
    ],
}  # fmt: skip

BAD: dict[str, tuple[Rule, int, list[Record]]] = {
    "never done": ("lost", 1, [*enqueued(1), given(1)]),
    "settled without a call": ("lost", 1, [*enqueued(1), given(1), settled(1)]),
    "called and never settled": ("lost", 1, [*enqueued(1), given(1), called(1)]),
    "done twice": (
        "doubled", 1,
        [*enqueued(1), given(1), *effect(1), given(1, "two", 2), *effect(1, "two", 2)],
    ),
    "done twice under one lease": ("doubled", 1, [*enqueued(1), given(1), *effect(1), *effect(1)]),
    "done and a dead letter": ("doubled", 1, [*enqueued(1), given(1), *effect(1), dead(1)]),
    "done, and nobody asked": ("made up", 1, [given(1), *effect(1)]),
    "called before anybody asked": ("made up", 1, [called(1), *enqueued(1), given(1), settled(1)]),
    "effects the wrong way round": (
        "out of order", 2, [*BOTH, given(1), given(2), *effect(2), *effect(1)],
    ),
    "called while the first was under way": (
        "out of order", 2,
        [*BOTH, given(1), given(2), called(1), called(2), returned(1), settled(1), settled(2)],
    ),
    "called before the lost one": (
        "out of order", 2,
        [Record("asked", 1, "a"), *enqueued(2), given(2), called(2), given(1), called(1),
         settled(1), settled(2)],
    ),
    "under a lease that was over": (
        "not fenced", 1, [*enqueued(1), given(1), given(1, "two", 2), *effect(1)],
    ),
    "under a lease of the same worker that was over": (
        "not fenced", 1, [*enqueued(1), given(1), given(1, lease=2), *effect(1)],
    ),
    "under a lease of another worker": (
        "not fenced", 1, [*enqueued(1), given(1), *effect(1, "two")],
    ),
    "under no lease": ("not fenced", 1, [*enqueued(1), *effect(1)]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_has_no_violation(name: str) -> None:
    assert check(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_what_is_bad_in_a_history_is_found_and_nothing_else(name: str) -> None:
    rule, n, history = BAD[name]
    assert check(history) == [Violation(rule, n)]


def test_what_is_taken_out_of_put_into_or_moved_in_a_long_history_is_found() -> None:
    chance = random.Random(1)
    for _ in range(200):
        history = long_history(chance)
        assert check(history) == []
        n = chance.randrange(1, 30)
        own = [record for record in history if record.n == n]
        (done,) = (record for record in own if record.kind == "effect")
        rest = [record for record in history if record is not done]

        assert check(rest) == [Violation("lost", n)]
        assert check([*history, done]) == [Violation("doubled", n)]
        unasked = [r for r in history if r.n != n or r.kind not in ("asked", "acknowledged")]
        assert check(unasked) == [Violation("made up", n)]
        assert Violation("not fenced", n) in check(
            [replace(done, lease=0) if record is done else record for record in history]
        )
        # Behind all others of its key, of which there are later ones.
        behind = [r for r in rest if r.n != n or r.kind != "settled"]
        late = check([*behind, done, replace(done, kind="settled")])
        later = [r.n for r in history if r.kind == "effect" and r.key == done.key and r.n > n]
        assert [violation.n for violation in late if violation.rule == "out of order"] == later


def long_history(chance: random.Random) -> list[Record]:
    """Thirty messages of three keys; every third lease is lost before its effect."""
    keys = {n: chance.choice("abc") for n in range(30)}
    history = [record for n, key in keys.items() for record in enqueued(n, key)]
    lease = 0
    for n, key in keys.items():
        while True:
            lease += 1
            worker = chance.choice(["one", "two"])
            history.append(Record("given", n, key, worker, lease))
            if chance.random() < 0.7:
                break
        history.append(Record("effect", n, key, worker, lease))
        history.append(Record("settled", n, key, worker, lease))
    return history

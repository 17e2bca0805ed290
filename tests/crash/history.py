"""What happened to messages, and a checker that says what must not have happened.

Pure: it knows no database. A record of the database has the time at which its transaction began to
commit, so that records are in the order of commits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "asked",  # a producer is about to enqueue
    "acknowledged",  # and was told that it is done
    "given",  # a claim gave the message to a worker, under a lease
    "effect",  # a transactional handler's effect, committed
    "called",  # an external handler's call, which nothing undoes
    "returned",  # the call came to its end
    "settled",  # it left the queue
    "dead",  # it became a dead letter
]
Rule: TypeAlias = Literal["lost", "doubled", "made up", "out of order", "not fenced"]


@dataclass(frozen=True, slots=True)
class Record:
    """`n` names the message, and grows in the order of enqueueing."""

    kind: Kind
    n: int
    key: str | None = None
    worker: str | None = None
    lease: int | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    rule: Rule
    n: int


def check(history: Sequence[Record]) -> list[Violation]:
    """Every violation of what the queue promises, once, by message."""
    found = {
        *_lost(history),
        *_doubled(history),
        *_made_up(history),
        *_out_of_order(history),
        *_not_fenced(history),
    }
    return sorted(found, key=lambda violation: (violation.n, violation.rule))


def _lost(history: Sequence[Record]) -> Iterator[Violation]:
    """Acknowledged, and no dead letter, but without effect or call; or still in the queue."""
    handled = _numbers(history, "effect", "called")
    dead = _numbers(history, "dead")
    settled = _numbers(history, "settled")
    for n in _numbers(history, "acknowledged"):
        if n not in dead and not (n in handled and n in settled):
            yield Violation("lost", n)


def _doubled(history: Sequence[Record]) -> Iterator[Violation]:
    """Two effects, or an effect of what is a dead letter, too. External calls may come again."""
    ends: set[int] = set()
    for record in history:
        if record.kind in ("effect", "dead"):
            if record.n in ends:
                yield Violation("doubled", record.n)
            ends.add(record.n)


def _made_up(history: Sequence[Record]) -> Iterator[Violation]:
    """What nobody asked for. To be asked is enough: an acknowledgement may be lost on its way."""
    asked: set[int] = set()
    for record in history:
        if record.kind == "asked":
            asked.add(record.n)
        elif record.n not in asked:
            yield Violation("made up", record.n)


def _out_of_order(history: Sequence[Record]) -> Iterator[Violation]:
    """Begun for the first time while an earlier message of its key had not come to its end.

    A call's end is its return: a worker that has several messages of a key under one lease
    settles them when it comes to it. The first effect or call counts: a call that comes again may
    come late, from a worker that was silent meanwhile. What was never given to anybody, as an
    enqueue that was asked for and undone, keeps nobody waiting; what was acknowledged does so in
    any case.
    """
    real = _numbers(history, "acknowledged", "given", "effect", "called", "settled", "dead")
    waiting: dict[str, set[int]] = {}
    for record in history:
        if record.key is not None and record.n in real:
            waiting.setdefault(record.key, set()).add(record.n)
    begun: set[int] = set()
    for record in history:
        if record.key is None:
            continue
        if record.kind in ("effect", "called") and record.n not in begun:
            begun.add(record.n)
            if any(n < record.n for n in waiting[record.key]):
                yield Violation("out of order", record.n)
        if record.kind in ("effect", "returned", "settled", "dead"):
            waiting[record.key].discard(record.n)


def _not_fenced(history: Sequence[Record]) -> Iterator[Violation]:
    """An effect under another lease than the last that was given, or another worker's."""
    given: dict[int, Record] = {}
    for record in history:
        if record.kind == "given":
            given[record.n] = record
        elif record.kind == "effect":
            last = given.get(record.n)
            if last is None or (last.lease, last.worker) != (record.lease, record.worker):
                yield Violation("not fenced", record.n)


def _numbers(history: Iterable[Record], *kinds: Kind) -> set[int]:
    return {record.n for record in history if record.kind in kinds}

"""Questions that are asked together."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from chatsync.gateway import rounds
from chatsync.gateway.rounds import MAX_QUESTIONS, ROUNDS_AT_ONCE, Rounds


class Oracle:
    """Answers when it is let, and notes what it was asked."""

    def __init__(self, most: int = 1000) -> None:
        self.asked: list[Sequence[str]] = []
        self.most = most
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, questions: Sequence[str]) -> list[str]:
        self.asked.append(questions)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [f"to {question}" for question in questions[: self.most]]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    monkeypatch.setattr(rounds, "GAP_SECONDS", 0.0)
    return Oracle()


async def test_a_question_that_comes_alone_is_asked_at_once(oracle: Oracle):
    asking = asyncio.create_task(Rounds(oracle.answer).ask("a"))
    await settled()
    assert oracle.asked == [["a"]]
    oracle.may_answer.set()
    assert await asking == "to a"


async def test_those_of_one_moment_are_asked_together_and_equal_ones_once(oracle: Oracle):
    oracle.may_answer.set()
    one = Rounds(oracle.answer)
    assert await asyncio.gather(one.ask("a"), one.ask("b"), one.ask("a")) == [
        "to a",
        "to b",
        "to a",
    ]
    assert oracle.asked == [["a", "b"]]


async def test_nobody_is_answered_by_a_look_that_began_before(oracle: Oracle):
    one = Rounds(oracle.answer)
    first = asyncio.create_task(one.ask("a"))
    await settled()
    second = asyncio.create_task(one.ask("a"))
    await settled()
    assert oracle.asked == [["a"], ["a"]]
    oracle.may_answer.set()
    await asyncio.gather(first, second)


async def test_who_comes_while_enough_rounds_are_under_way_waits_for_the_next(oracle: Oracle):
    one = Rounds(oracle.answer)
    asking: list[asyncio.Task[str]] = []
    for number in range(ROUNDS_AT_ONCE + 3):
        asking.append(asyncio.create_task(one.ask(str(number))))
        await settled()
    assert oracle.asked == [[str(number)] for number in range(ROUNDS_AT_ONCE)]
    oracle.may_answer.set()
    await asyncio.gather(*asking)
    late = [str(ROUNDS_AT_ONCE + number) for number in range(3)]
    assert oracle.asked[ROUNDS_AT_ONCE:] == [late]


async def test_a_round_is_bounded(oracle: Oracle):
    oracle.may_answer.set()
    one = Rounds(oracle.answer)
    await asyncio.gather(*(one.ask(str(number)) for number in range(2 * MAX_QUESTIONS + 1)))
    assert [len(asked) for asked in oracle.asked] == [MAX_QUESTIONS, MAX_QUESTIONS, 1]


async def test_what_one_look_does_not_answer_the_next_does(oracle: Oracle):
    oracle.may_answer.set()
    oracle.most = 2
    one = Rounds(oracle.answer)
    answers = await asyncio.gather(*(one.ask(letter) for letter in "abcde"))
    assert answers == [f"to {letter}" for letter in "abcde"]
    assert ["".join(asked) for asked in oracle.asked] == ["abcde", "cde", "e"]


async def test_what_goes_wrong_is_told_to_all_of_a_round_and_to_no_other(oracle: Oracle):
    oracle.may_answer.set()
    oracle.error = LookupError("no")
    one = Rounds(oracle.answer)
    told = await asyncio.gather(one.ask("a"), one.ask("b"), return_exceptions=True)
    assert told == [oracle.error, oracle.error]
    oracle.error = None
    assert await one.ask("a") == "to a"


async def test_who_goes_takes_no_answer_from_the_others(oracle: Oracle):
    one = Rounds(oracle.answer)
    goes, stays = (asyncio.create_task(one.ask(letter)) for letter in "ab")
    await settled()
    goes.cancel()
    await settled()
    oracle.may_answer.set()
    assert await stays == "to b"
    assert goes.cancelled()


async def test_rounds_keep_a_distance(oracle: Oracle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rounds, "GAP_SECONDS", 0.05)
    oracle.may_answer.set()
    one = Rounds(oracle.answer)
    await one.ask("a")
    began_at = time.monotonic()
    await asyncio.gather(one.ask("b"), one.ask("c"))
    assert time.monotonic() - began_at > 0.03
    assert oracle.asked == [["a"], ["b", "c"]]

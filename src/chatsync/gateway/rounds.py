"""Questions to the database that are asked together, so that a wave of sessions costs few of them.

Whoever asks is never answered by a look that began before: it is the next round that answers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import psycopg

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

# One round may wait for what the next need not wait for.
ROUNDS_AT_ONCE = 2
# What is sent in one statement, and lost with it when the database goes away.
MAX_QUESTIONS = 100
# From one round to the next: a round costs a gateway as much as a tenth of a session's beginning.
GAP_SECONDS = 0.02


class Rounds(Generic[Question, Answer]):
    """`answer` is given questions, each once, and answers the first few of them: one at least.

    A question that comes alone is asked at once. DatabaseUnavailable is for all of a round.
    """

    def __init__(self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]) -> None:
        self._answer = answer
        self._next: _Round[Question, Answer] | None = None
        self._room = asyncio.Semaphore(ROUNDS_AT_ONCE)
        self._next_at = 0.0

    async def ask(self, question: Question) -> Answer:
        """The answer to a question; equal ones of a round share it.

        Raises what `answer` raises for this question alone.
        """
        coming = self._next
        if coming is None or len(coming.questions) >= MAX_QUESTIONS:
            coming = self._next = _Round()
            coming.task = asyncio.create_task(self._hold(coming))
            # Whoever asked may be gone before it fails.
            coming.task.add_done_callback(_heard)
        coming.questions[question] = None
        assert coming.task is not None
        try:
            return (await asyncio.shield(coming.task))[question]
        except psycopg.Error:
            # What fails for somebody else is nothing to this one.
            return (await self._answer([question]))[0]

    async def _hold(self, coming: "_Round[Question, Answer]") -> dict[Question, Answer]:
        answers: dict[Question, Answer] = {}
        async with self._room:
            await self._pace()
            if self._next is coming:
                self._next = None
            left = list(coming.questions)
            while left:
                found = await self._answer(left)
                answers.update(zip(left, found, strict=False))
                left = left[len(found) :]
        return answers

    async def _pace(self) -> None:
        now = time.monotonic()
        at, self._next_at = self._next_at, max(now, self._next_at) + GAP_SECONDS
        if at > now:
            await asyncio.sleep(at - now)


class _Round(Generic[Question, Answer]):
    """Questions that wait for their turn, in order."""

    def __init__(self) -> None:
        self.questions: dict[Question, None] = {}
        self.task: asyncio.Task[dict[Question, Answer]] | None = None


def _heard(task: asyncio.Task[dict[Question, Answer]]) -> None:
    if not task.cancelled():
        task.exception()

"""Measures a system: messages in, messages out, and the proof that each came exactly once."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
from side_by_side import cpu
from side_by_side.processes import PATIENCE_SECONDS, BenchmarkError

from queues.place import Place
from queues.system import System
from queues.talk import Talk

WARM_UP_MESSAGES = 1_000
# Whatever is handled once more comes within this time after the last one.
AFTERWARDS_SECONDS = 0.2

Result: TypeAlias = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many messages, in which numbers of keys (0 is without), and how long at most."""

    messages: int
    keys: Sequence[int]
    limit_seconds: float


def name_of(keys: int) -> str:
    """What the figure of so many keys is called."""
    return f"{keys:,} key{'s' if keys > 1 else ''}" if keys else "no keys"


def measure(system: System, place: Place, sizes: Sizes, folder: Path) -> Mapping[str, Result]:
    """Fill and drain by a fresh process in a fresh database, once for each number of keys."""
    with ExitStack() as stack:
        url, superuser_url = stack.enter_context(place.database(system))
        looking = stack.enter_context(psycopg.connect(superuser_url, autocommit=True))
        talk = Talk(system, place.environment(system, url), folder, stack)
        talk.ask("install")
        bench = _Bench(system, place, looking, talk, sizes)
        return {
            name_of(keys): bench.measured(keys) for keys in sizes.keys if not keys or system.per_key
        }


@dataclass(frozen=True, slots=True)
class _Bench:
    system: System
    place: Place
    looking: psycopg.Connection[Any]
    talk: Talk
    sizes: Sizes

    def measured(self, keys: int) -> Result:
        """The second of two rounds: the first one is there to compile, connect and plan."""
        self._round(WARM_UP_MESSAGES, keys)
        return self._round(self.sizes.messages, keys)

    def _round(self, count: int, keys: int) -> Result:
        settings = self.system.settings_for(keys)
        self.place.purge(self.system, self.looking)
        filled = self.talk.ask("enqueue", count=count, keys=keys, settings=settings)
        self.place.settle_down(self.looking)
        self.talk.ask("ready", settings=settings)
        drained = self._drained(count, keys, settings)
        return {"enqueued_per_second": count / filled["seconds"], **drained}

    def _drained(self, count: int, keys: int, settings: Mapping[str, int]) -> Result:
        roots = {"worker": self.talk.pid, **self.place.roots(self.system)}
        before = cpu.seconds(roots)
        began = time.monotonic()
        self.talk.tell("drain", count=count, keys=keys, settings=settings)
        is_done = self.talk.answer(self.sizes.limit_seconds) is not None
        if is_done:
            self._await_emptiness()
        seconds = time.monotonic() - began
        after = cpu.seconds(roots)
        if is_done:
            time.sleep(AFTERWARDS_SECONDS)
        tally = self._ended(is_done)
        self._prove(tally, count, is_done)
        handled = tally["handled"]
        return {
            "drained_per_second": handled / seconds,
            "handled": handled,
            "first_ms": tally["first_ms"],
            **{f"cpu_us_{name}": (after[name] - before[name]) / handled * 1e6 for name in roots},
        }

    def _ended(self, is_done: bool) -> Mapping[str, Any]:
        if is_done:
            return self.talk.ask("end")
        self.talk.tell("end")
        # The first answer is that of the drain, which ends when the end is asked for.
        answers = [self.talk.answer(PATIENCE_SECONDS) for _ in range(2)]
        assert answers[1] is not None
        return answers[1]

    def _await_emptiness(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.place.is_anything_left(self.system, self.looking):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.system.name}: handled messages stay in the queue")
            time.sleep(0.002)

    def _prove(self, tally: Mapping[str, Any], count: int, is_done: bool) -> None:
        handled = tally["handled"]
        if handled != tally["distinct"] or handled > count or (is_done and handled != count):
            raise BenchmarkError(
                f"{self.system.name}: of {count} messages {tally['distinct']} were handled,"
                f" {handled - tally['distinct']} of them once more"
            )
        if tally["disorder"]:
            raise BenchmarkError(
                f"{self.system.name}: {tally['disorder']} messages came before an earlier one"
            )

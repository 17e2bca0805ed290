"""The driver's end of the conversation with a measured program."""

import json
import os
import selectors
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from side_by_side import processes
from side_by_side.processes import PATIENCE_SECONDS, BenchmarkError

from queues.system import System


class Talk:
    """A program that was started, to be told what to do, one thing after the other."""

    def __init__(
        self, system: System, environment: Mapping[str, str], folder: Path, stack: ExitStack
    ) -> None:
        self._name = system.name
        self._child = processes.start(
            system.name.replace(" ", "-"), system.program, folder, environment, talks=True
        )
        stack.callback(self._child.stop)
        self._read = b""

    @property
    def pid(self) -> int:
        return self._child.pid

    def ask(self, do: str, **more: object) -> Mapping[str, Any]:
        """Tell it to do something and await its answer. Raises BenchmarkError when none comes."""
        self.tell(do, **more)
        answer = self.answer(PATIENCE_SECONDS)
        if answer is None:
            raise BenchmarkError(f"{self._name} does not answer to {do}")
        return answer

    def tell(self, do: str, **more: object) -> None:
        pipe = self._child.process.stdin
        assert pipe is not None
        pipe.write(json.dumps({"do": do, **more}).encode() + b"\n")
        pipe.flush()

    def answer(self, seconds: float) -> Mapping[str, Any] | None:
        """The next answer, or None after so long. Raises BenchmarkError when the program ended."""
        pipe = self._child.process.stdout
        assert pipe is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._read:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                part = os.read(pipe.fileno(), 65536)
                if not part:
                    raise BenchmarkError(f"{self._name} ended: {self._child.cause()}")
                self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

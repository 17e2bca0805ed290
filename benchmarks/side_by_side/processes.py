"""Child processes: started with a log of their own, awaited, and ended by their process ids."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 15.0
PATIENCE_SECONDS = 120.0  # for what a slow machine does in a minute
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")  # what else is set here must not change a figure


class BenchmarkError(Exception):
    """What keeps a figure from being measured, in one sentence."""


@dataclass(slots=True)
class Child:
    """A process that runs until it is told to stop."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def await_that(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds. Raises BenchmarkError when the process ends before."""
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if self.process.poll() is not None:
                raise BenchmarkError(f"{self.name} ended: {self.cause()}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} is not ready after {START_SECONDS:.0f} s")
            time.sleep(0.02)

    def said(self, line: str) -> int:
        """Count how often it wrote this line to its log."""
        return self.log.read_text(errors="replace").splitlines().count(line)

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cause(self) -> str:
        """Why it ended, as its log tells."""
        return telling_line(self.log.read_text(errors="replace"))


@contextmanager
def ending() -> Generator[ExitStack]:
    """Give a stack for whatever has to be ended; its ending is not cut short by another Ctrl-C."""
    stack = ExitStack()
    try:
        yield stack
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            stack.close()
        finally:
            signal.signal(signal.SIGINT, before)


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] = {},
    *,
    talks: bool = False,
) -> Child:
    """Start a program with what it is given in its environment and little else.

    One that talks has pipes for its input and its output; the others write to their logs alone.
    """
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=_environment(environment),
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the driver, which ends its children in order
        )
    return Child(name, process, log)


def run(command: Sequence[str], environment: Mapping[str, str] = {}) -> str:
    """Run a short program; returns what it says. Raises BenchmarkError."""
    answer = subprocess.run(
        command,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        cause = telling_line(answer.stderr or answer.stdout)
        raise BenchmarkError(f"{' '.join(command[:4])} failed: {cause}")
    return answer.stdout.strip()


def telling_line(text: str) -> str:
    """Of what a failing program said, the last line that names an error, or else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    if telling and telling[0].startswith("npm error"):
        return telling[0]  # the code; npm ends with where its log is
    return (telling or lines or ["it said nothing"])[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(more)

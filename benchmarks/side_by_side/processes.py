"""Child processes: started with a log of their own, awaited, and ended by their process ids."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 15.0
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
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-12:]) if lines else "it said nothing"


def start(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] = {}
) -> Child:
    """Start a program with what it is given in its environment and little else."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the driver, which ends its children in order
        )
    return Child(name, process, log)


def run(command: Sequence[str], environment: Mapping[str, str] = {}) -> str:
    """Run a short program; returns what it says. Raises BenchmarkError."""
    answer = subprocess.run(
        command, env=_environment(environment), capture_output=True, text=True, check=False
    )
    if answer.returncode:
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["it said nothing"]
        raise BenchmarkError(f"{' '.join(command[:4])} failed: {said[-1]}")
    return answer.stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(more)

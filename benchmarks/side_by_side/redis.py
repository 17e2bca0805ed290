"""The peer's Redis: a server on a Unix socket with an append-only file, and questions to it."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from side_by_side import processes
from side_by_side.processes import Child


@dataclass(frozen=True, slots=True)
class Redis:
    """A server that runs until its stack is closed."""

    child: Child
    path: Path

    def ask(self, command: str) -> str:
        """Send one command; returns the whole answer in Redis's own notation."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(f"{command}\r\nQUIT\r\n".encode())
            answer = bytearray()
            while part := connection.recv(65536):
                answer += part
        return answer.decode().removesuffix("+OK\r\n")

    def queued(self, queue: str) -> int:
        """How many jobs wait in a queue of BullMQ."""
        return int(self.ask(f"LLEN bull:{queue}:wait").strip().removeprefix(":"))

    def facts(self) -> Mapping[str, str]:
        """Its version, and what it says about its durability."""
        info = dict(
            line.split(":", 1) for line in self.ask("INFO server").splitlines() if ":" in line
        )
        told = {"redis-server": info["redis_version"]}
        for name in ("appendonly", "appendfsync"):
            told[f"Redis {name}"] = self.ask(f"CONFIG GET {name}").splitlines()[-1]
        return told


def started(folder: Path, fsync: str, stack: ExitStack) -> Redis:
    """Start a server that keeps its files in the folder; `fsync` is its `appendfsync`."""
    path = folder / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    child = processes.start("redis", ["redis-server", *arguments], folder)
    stack.callback(child.stop)
    child.await_that(path.exists)
    return Redis(child, path)

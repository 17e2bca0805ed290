"""Many sockets in one cheap process: counts what arrives, decodes nothing. Runs as a program.

Reads one JSON object from its input: where to connect and what to say. Then lines: `until N` is
answered when the sockets that read have seen N events together; `latencies` with those so far.
"""

import json
import re
import resource
import selectors
import socket
import sys
import time

_BUFFER = bytearray(1 << 18)
# Events carry the moment of their publication, by the clock that all processes share.
_SENT_AT = re.compile(rb'at(?:\\?":|=)(\d+)')


class Subscribers:
    """The sockets of one server."""

    def __init__(self, plan: dict[str, object]) -> None:
        self._port = int(str(plan["port"]))
        self._upgrade = str(plan["upgrade"]).encode("latin-1")
        self._hello = str(plan["hello"]).encode("latin-1")
        self._confirmed = str(plan["confirmed"]).encode("latin-1")
        self._mark = str(plan["mark"]).encode()
        self._ping = str(plan["ping"]).encode("latin-1")
        self._pong = str(plan["pong"]).encode("latin-1")
        self._is_timed = bool(plan["timed"])
        self._selector = selectors.DefaultSelector()
        self._stalled: list[socket.socket] = []
        self.seen = 0
        self.latencies: list[float] = []
        for number in range(int(str(plan["sockets"]))):
            self._connect(is_stalled=number < int(str(plan["stalled"])))

    def until(self, target: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.seen < target:
            if time.monotonic() > deadline:
                return False
            self.read(0.5)
        return True

    def read(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            size = connection.recv_into(_BUFFER)
            if size == 0:
                sys.exit("the server closed a socket")
            self._take(connection, size)

    def _take(self, connection: socket.socket, size: int) -> None:
        # No event is longer than what one write brings, so that none is counted twice or missed.
        found = _BUFFER.count(self._mark, 0, size)
        self.seen += found
        if self._ping and _BUFFER.find(self._ping, 0, size) >= 0:
            connection.sendall(self._pong)
        if self._is_timed and found:
            now = time.monotonic_ns()
            for sent_at in _SENT_AT.finditer(_BUFFER, 0, size):
                self.latencies.append((now - int(sent_at[1])) / 1e6)

    def _connect(self, *, is_stalled: bool) -> None:
        connection = socket.socket()
        if is_stalled:
            # Else the kernel would read for it what a measurement sends.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", self._port))
        # Small messages may not wait for each other, as they do not in browsers.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(self._upgrade)
        said = b""
        while b"\r\n\r\n" not in said:
            said += _receive(connection, said)
        if self._hello:
            connection.sendall(self._hello)
        while self._confirmed not in said:
            said += _receive(connection, said)
        if is_stalled:
            self._stalled.append(connection)
        else:
            self._selector.register(connection, selectors.EVENT_READ)


def _receive(connection: socket.socket, said: bytes) -> bytes:
    data = connection.recv(65_536)
    if not data:
        sys.exit(f"refused: {said[-200:].decode(errors='replace')}")
    return data


def _main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    subscribers = Subscribers(json.loads(sys.stdin.readline()))
    print("live", flush=True)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "until":
            print("reached" if subscribers.until(int(number), 60) else subscribers.seen, flush=True)
        elif word == "latencies":
            print(json.dumps(subscribers.latencies), flush=True)
            subscribers.latencies = []


if __name__ == "__main__":
    _main()

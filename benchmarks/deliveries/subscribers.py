"""A process with the subscribers: it keeps what comes with the time, and reads it afterwards.

    subscribers.py PORT TOKEN SOCKETS FILE

Says "ready" when all are connected. Told to end, it writes to FILE what came to each: the number
of each event, and when.
"""

import json
import re
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

# Last: `queue`, beside it, must not hide the standard library's.
sys.path.append(str(Path(__file__).parent.parent))

from side_by_side.subscribers import text_frame, upgrade

_NUMBER = re.compile(rb'"n":\s?(\d+),')
_READY = b'"connected"'


class Subscriber:
    """One socket, and what came to it."""

    def __init__(self, port: int, token: str) -> None:
        self.came: list[tuple[float, bytes]] = []
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(upgrade("/ws", f"Authorization: Bearer {token}"))
        self._until(b"\r\n\r\n")
        self.socket.sendall(text_frame('{"type":"connect"}'))
        self._until(_READY)

    def read(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise SystemExit("the gateway closed the socket of a subscriber")
        self.came.append((time.time(), data))

    def numbers(self) -> list[tuple[int, float]]:
        """What was read, event by event; one that came in pieces came with the last of them."""
        found: list[tuple[int, float]] = []
        rest = b""
        for at, data in self.came:
            buffer, end = rest + data, 0
            for match in _NUMBER.finditer(buffer):
                found.append((int(match[1]), at))
                end = match.end()
            rest = buffer[max(end, len(buffer) - 32) :]
        return found

    def _until(self, mark: bytes) -> None:
        said = b""
        while mark not in said:
            data = self.socket.recv(65_536)
            if not data:
                raise SystemExit(f"a subscriber was refused: {said[:100]!r}")
            said += data


def main() -> None:
    port, token, sockets, file = sys.argv[1:]
    subscribers = [Subscriber(int(port), token) for _ in range(int(sockets))]
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    with selectors.DefaultSelector() as selector:
        for subscriber in subscribers:
            selector.register(subscriber.socket, selectors.EVENT_READ, subscriber.read)
        print("ready", flush=True)
        while not is_over:
            for key, _ in selector.select(0.2):
                key.data()
    Path(file).write_text(json.dumps([subscriber.numbers() for subscriber in subscribers]))


if __name__ == "__main__":
    main()

"""`chatsync queue …` as tests call it, and a queue in which something failed."""

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from chatsync.cli import main
from conftest import Connections
from sql.queue_calls import claim, enqueue, register, settle

FOREVER = 100_000


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Operator:
    """Calls what `chatsync queue …` calls, in this process."""

    def __init__(
        self, url: str, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.url = url
        self._patch = patch
        self._capture = capture

    def __call__(self, *arguments: object, answer: str = "") -> Said:
        self._patch.setenv("CHATSYNC_DATABASE_URL", self.url)
        self._patch.setattr(sys, "argv", ["chatsync", "queue", *map(str, arguments)])
        self._patch.setattr(sys, "stdin", io.StringIO(answer))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = self._capture.readouterr()
        return Said(code, str(printed.out), str(printed.err))


def fail_next(
    connections: Connections, error: str, *, retry_after: float = FOREVER, permanent: bool = False
) -> int:
    """Claims the next message and settles it as failed; returns its id."""
    connection, worker_id = register(connections)
    (claimed,) = claim(connection, worker_id, 1)
    outcome = {"id": claimed.id, "error": error, "isPermanent": permanent}
    settle(connection, [claimed], done=[], failed=[{**outcome, "retryAfterSeconds": retry_after}])
    return int(claimed.id)


def dead_letters(connections: Connections, *errors: str) -> list[int]:
    """Makes a dead letter for each error; returns their ids."""
    worker = connections.open("chatsync_worker")
    for error in errors:
        enqueue(worker, None, error)
        fail_next(connections, error, permanent=True)
    rows = worker.execute("select id from chatsync.failed_messages order by id").fetchall()
    return [int(str(row[0])) for row in rows]

"""chatsync, with a transactional handler and with one for effects elsewhere."""

import sys
from pathlib import Path

from queues.system import System

_PROGRAM = (
    sys.executable,
    str(Path(__file__).with_name("programs") / "chatsync_program.py"),
)
_ENQUEUE = {"enqueue_batch": 1_000, "enqueue_at_once": 2}
_LEFT = "select exists (select from chatsync.message_queue)"
_PURGE = "truncate chatsync.lane_turns, chatsync.message_queue, chatsync.queue_lanes"

TRANSACTIONAL = System(
    name="chatsync",
    program=_PROGRAM,
    packages=("chatsync", "psycopg", "uvloop"),
    settings={**_ENQUEUE, "batch": 1_000},
    per_key="ordering_key",
    left=_LEFT,
    purge=_PURGE,
    environment={"KIND": "transactional"},
)

EXTERNAL = System(
    name="chatsync external",
    program=_PROGRAM,
    packages=(),
    settings={**_ENQUEUE, "batch": 1_000, "concurrency": 500},
    per_key="ordering_key",
    left=_LEFT,
    purge=_PURGE,
    environment={"KIND": "external"},
)

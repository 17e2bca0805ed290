"""A worker in a process of its own, which begins when it is told to, and stops where it is told.

    python program.py SIGNS CALLS

The first line on its standard input begins it, and names a point, or none: in a handler, `begun`
is before its effect or call, `done` after it. There it says so in the file SIGNS, and goes on after
the next line. External calls are lines of the file CALLS.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from chatsync.database import Connection
from chatsync.worker import Message, Worker

NAME = f"{socket.gethostname()}:{os.getpid()}"
# The lease under which this process was given the message: another one's is not found.
EFFECT = (
    "insert into crash.history"
    " select clock_timestamp(), 'effect', 'booked', %(n)s, %(key)s, %(worker)s,"
    " (select max(lease) from crash.history"
    "  where kind = 'given' and queue = 'booked' and n = %(n)s and worker = %(worker)s), %(stops)s"
)


class Work(BaseModel):
    n: int
    stops: bool


worker = Worker(batch_size=20)
signs, calls = Path(sys.argv[1]), Path(sys.argv[2])
point = sys.stdin.readline().strip()
may_go_on = threading.Event()
stopped: set[str] = set()


def hear() -> None:
    sys.stdin.readline()
    may_go_on.set()


def write(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def note(kind: str, message: Message[Work]) -> None:
    """External calls share nothing with the database but its clock."""
    line = f"{time.time():.6f} {kind} {message.payload.n} {message.ordering_key or '-'} {NAME}"
    write(calls, line)


async def pass_by(here: str, messages: list[Message[Work]]) -> None:
    queue = messages[0].queue
    if here != point or queue in stopped or not any(m.payload.stops for m in messages):
        return
    stopped.add(queue)
    write(signs, queue)
    await asyncio.to_thread(may_go_on.wait)


@worker.transactional("booked", payload=Work)
async def book(connection: Connection, messages: list[Message[Work]]) -> None:
    await pass_by("begun", messages)
    for message in messages:
        about = {"key": message.ordering_key, "worker": NAME, **message.payload.model_dump()}
        await connection.execute(EFFECT, about)
    await pass_by("done", messages)


@worker.handler("called", payload=Work)
async def call(message: Message[Work]) -> None:
    await pass_by("begun", [message])
    note("called", message)
    await pass_by("done", [message])
    note("returned", message)


threading.Thread(target=hear, daemon=True).start()
worker.run()

"""A worker with a handler of each kind that tells how long a message was on its way.

A line "begun WAY NANOSECONDS" for each message. A payload says at which moment of the monotonic
clock, which all processes of a machine share, it was enqueued, or at which of the other one it is
due.
"""

import time
from typing import Any

from chatsync.database import Connection
from chatsync.worker import Message, Worker

worker = Worker()


@worker.handler("external")
async def call(message: Message[Any]) -> None:
    tell(time.monotonic_ns(), time.time_ns(), message)


@worker.transactional("transactional")
async def book(_connection: Connection, messages: list[Message[Any]]) -> None:
    begun, begun_at = time.monotonic_ns(), time.time_ns()
    for message in messages:
        tell(begun, begun_at, message)


def tell(begun: int, begun_at: int, message: Message[Any]) -> None:
    told = message.payload
    delay = begun - told["at"] if "at" in told else begun_at - told["due"]
    print("begun", told["way"], delay, flush=True)


if __name__ == "__main__":
    worker.run()

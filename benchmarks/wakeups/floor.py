"""The least that can be done: a row, a commit, NOTIFY; LISTEN, and a look for the row.

floor.py listen
floor.py send BLOCK COUNT
"""

import os
import sys
import time

import psycopg
from producer import gap

URL = os.environ["CHATSYNC_DATABASE_URL"]


def listen() -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(
            "create table public.floor (id bigserial primary key, at bigint, block text)"
        )
        connection.execute("listen floor")
        print("ready", flush=True)
        newest = 0
        while True:
            for _ in connection.notifies(stop_after=1):
                pass
            found = connection.execute(
                "select id, at, block from public.floor where id > %s order by id", [newest]
            ).fetchall()
            begun = time.monotonic_ns()
            for _, at, block in found:
                print("begun", block, begun - at, flush=True)
            newest = found[-1][0] if found else newest


def send(block: str, count: int) -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        for _ in range(count):
            time.sleep(gap())
            at = time.monotonic_ns()
            connection.execute("insert into public.floor (at, block) values (%s, %s)", [at, block])
            connection.execute("notify floor")


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        listen()
    else:
        send(sys.argv[2], int(sys.argv[3]))

"""The least that can be done with a notification: LISTEN, and a look for the row."""

import os
import time

import psycopg

with psycopg.connect(os.environ["CHATSYNC_DATABASE_URL"], autocommit=True) as connection:
    connection.execute("create table public.floor (id bigserial primary key, at bigint)")
    connection.execute("listen floor")
    print("ready", flush=True)
    newest = 0
    while True:
        for _ in connection.notifies(stop_after=1):
            pass
        found = connection.execute(
            "select id, at from public.floor where id > %s order by id", [newest]
        ).fetchall()
        begun = time.monotonic_ns()
        for _, at in found:
            print("begun", "floor", begun - at, flush=True)
        newest = found[-1][0] if found else newest

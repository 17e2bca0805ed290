"""A process that hears every bell and does nothing about it. Says "ready" when it listens."""

import os

import psycopg

with psycopg.connect(os.environ["CHATSYNC_DATABASE_URL"], autocommit=True) as connection:
    connection.execute("listen chatsync")
    print("ready", flush=True)
    for _ in connection.notifies():
        pass

"""The least that can be done with a notification: LISTEN, and the read of the row that it names.

    floor.py FILE

Says "ready" when it listens. Told to end, it writes to FILE which rows it read, and when.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import psycopg

READ = b"select n, text from public.floor where n = any ($1::int[])"


def main() -> None:
    is_over = False

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    came: list[tuple[int, float]] = []
    url = os.environ["CHATSYNC_DATABASE_URL"]
    with (
        psycopg.connect(url, autocommit=True) as listening,
        psycopg.connect(url, autocommit=True) as reading,
    ):
        listening.execute("listen floor")
        listener, reader = listening.pgconn, reading.pgconn
        reader.prepare(b"read", READ)
        print("ready", flush=True)
        while not is_over:
            select.select([listener.socket], [], [], 0.2)
            listener.consume_input()
            named: list[bytes] = []
            while notify := listener.notifies():
                named.append(notify.extra)
            if named:
                rows = reader.exec_prepared(b"read", [b"{" + b",".join(named) + b"}"])
                now = time.time()
                came += [(int(rows.get_value(row, 0) or b""), now) for row in range(rows.ntuples)]
    Path(sys.argv[1]).write_text(json.dumps(came))


if __name__ == "__main__":
    main()

"""Measures queues side by side: chatsync and what else one would use for jobs.

    scripts/bench queue [--runs N] [--only drain,keys] [--systems chatsync,pg-boss,…]
        [--messages N] [--keys 2000,10,1] [--limit SECONDS] [--set SYSTEM.NAME=VALUE]
        [--quick] [--json FILE]

drain   Messages with 700 bytes of JSON each are enqueued in batches, then drained by one worker
        process whose handler only counts. The process is started, connected and warm. The clock
        runs from the word to begin until all are handled and nothing is left in the queue. The word
        resumes a queue where a worker can be paused (chatsync, BullMQ), and starts the worker in
        its connected process where it cannot. A system that needs longer than the limit counts
        with what it did until then.
keys    The same with messages of so many keys, each in order, where a system has such a mode.

Every message must come to the handler exactly once, and in the order of its key. Starts and stops
everything itself: one PostgreSQL with a database for each system, and Redis for BullMQ.
"""

import sys

# The name of this file must not hide the standard library's queue.
sys.path.append(sys.path.pop(0))

from queues.main import main

if __name__ == "__main__":
    main()

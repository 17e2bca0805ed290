"""Measures queues side by side: chatsync, procrastinate, pgqueuer, pg-boss, graphile-worker, BullMQ.

    scripts/bench queue [--runs N] [--only enqueue,drain,keys] [--systems chatsync,pg-boss,…]
        [--messages N] [--keys 2000,10,1] [--limit SECONDS] [--set SYSTEM.NAME=VALUE] [--quick]
        [--json FILE]

enqueue  messages with 700 bytes of JSON each, in batches, from one process that is warm.
drain    the same messages by one worker process whose handler only counts. The process is started,
         connected and warm. The clock runs from the word to begin, which is a resumed queue where the
         worker can be paused (chatsync, BullMQ) and its worker's start in the connected process where
         it cannot, until all are handled and nothing is left in the queue. A system that needs longer
         than the limit counts with what it did until then.
keys     the same with messages of so many keys, each key in order, where the system has such a mode.

Every message must come to the handler exactly once, and in the order of its key. Starts and stops
everything itself: one PostgreSQL for all, a database for each system, Redis for BullMQ.
"""

import sys

# The name of this file must not hide the standard library's queue.
sys.path.append(sys.path.pop(0))

from queues.main import main

if __name__ == "__main__":
    main()

"""Measures what a delivery costs the process that owns the sockets, of chatsync beside others.

    scripts/bench fanout [--runs N] [--only single,burst,memory,stalled]
        [--sides chatsync,socketio,nchan,floor] [--sockets N] [--quick]

Starts and stops everything itself; docs/fanout.md says what each figure means.
"""

import sys

# benchmarks/queue.py must not hide the standard library's queue.
sys.path.append(sys.path.pop(0))

from fanouts.main import main

if __name__ == "__main__":
    main()

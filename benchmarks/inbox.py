"""Measures the main path, webhook to socket, of chatsync beside the usual stack.

    scripts/bench inbox [--runs N] [--only flat-out,latency,accept,drain]
        [--side chatsync|peer|both] [--redis-fsync always|everysec] [--quick]
        [--without-statistics] [--check-generator] [--json FILE]

Starts and stops everything itself; docs/benchmarks.md says what each figure means.
"""

from side_by_side.main import main

if __name__ == "__main__":
    main()

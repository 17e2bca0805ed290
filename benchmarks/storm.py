"""What a storm of presence and typing writes; storms/main.py says how it is measured.

scripts/bench storm [--users N] [--seconds N]
"""

import sys

# benchmarks/queue.py must not hide the standard library's queue.
sys.path.append(sys.path.pop(0))

from storms.main import main

if __name__ == "__main__":
    main()

"""Where workers are stopped, and which of it a short run takes.

CHATSYNC_TEST_CRASHES=all, as scripts/crash sets it, takes every point with every trouble.
"""

import os

POINTS = (
    "claiming",  # the claim's statement is done, and its transaction open
    "begun",  # the handler was called, and has done nothing yet
    "done",  # its effect or call is made, and not settled
    "settling",  # the settlement's statement is done, and its transaction open
    "committing",  # inside COMMIT
)


def points(*short: str) -> tuple[str, ...]:
    return POINTS if os.environ.get("CHATSYNC_TEST_CRASHES") == "all" else short

"""How often Python looks for garbage in a gateway's process."""

import gc

# Python's own 700 looks at a new session's objects several times while it begins: a quarter of the
# processor time when thousands come at once. What this many objects hold is some megabytes.
YOUNG_OBJECTS = 10_000


def collect_seldom() -> None:
    """Look at new objects less often, and at what was imported never again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)

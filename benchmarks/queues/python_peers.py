"""procrastinate and pgqueuer, in an environment of their own."""

from pathlib import Path

from queues.needs import PYTHON
from queues.system import System

_PROGRAMS = Path(__file__).with_name("programs")

PROCRASTINATE = System(
    name="procrastinate",
    program=(str(PYTHON), str(_PROGRAMS / "procrastinate_program.py")),
    packages=("procrastinate",),
    settings={"enqueue_batch": 1_000, "enqueue_at_once": 2, "concurrency": 10, "poll_ms": 5},
    per_key="lock",
    left="select exists (select from procrastinate_jobs)",
    purge="truncate procrastinate_jobs cascade",
)

PGQUEUER = System(
    name="pgqueuer",
    program=(str(PYTHON), str(_PROGRAMS / "pgqueuer_program.py")),
    packages=("pgqueuer", "asyncpg"),
    settings={"enqueue_batch": 1_000, "enqueue_at_once": 2, "batch": 1_000},
    left="select exists (select from pgqueuer)",
    purge="truncate pgqueuer, pgqueuer_log, pgqueuer_statistics",
)

"""What PostgreSQL's refusals mean: psycopg's errors as ours, and which of them pass."""

import psycopg

from chatsync.errors import DatabaseUnavailable, LeaseLost, QueueFull

LEASE_LOST = "CS001"
QUEUE_FULL = "CS007"
# A refusal that a later try may not meet: conflicts, timeouts, a server that goes or comes
# (PostgreSQL Appendix A). A listening connection that is killed carries no SQLSTATE at all.
TRANSIENT = frozenset({
    "40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "53300", "53400",
    "25006", "25P03", "08000", "08003", "08006", QUEUE_FULL,
})  # fmt: skip


def is_transient(error: psycopg.Error) -> bool:
    """Whether the same statements may succeed when the whole transaction is run again."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in TRANSIENT


def translated(error: psycopg.Error) -> Exception:
    """The class of ours that says what to do, or the error itself where none does."""
    if error.sqlstate == LEASE_LOST:
        return LeaseLost(one_line(error))
    if error.sqlstate == QUEUE_FULL:
        return QueueFull(error.diag.message_primary or "the queue is full")
    if is_transient(error):
        return DatabaseUnavailable("the database does not answer")
    return error


def one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())

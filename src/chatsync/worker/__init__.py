"""Workers of one's own: handlers for queues, in Python. docs/workers.md tells how to use it.

This is what other programs import; what it stands on may change.
"""

from chatsync.errors import Pause, Permanent, QueueFull, Retry
from chatsync.worker.message import Message, NewMessage
from chatsync.worker.worker import Worker

__all__ = ["Message", "NewMessage", "Pause", "Permanent", "QueueFull", "Retry", "Worker"]

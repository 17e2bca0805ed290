"""What all queues of a worker process share: one of each, whatever the number of queues."""

from dataclasses import dataclass

from chatsync.database import Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.stamper import Stamper
from chatsync.queue.lease import Lease


@dataclass(frozen=True, slots=True)
class Workplace:
    """The pool, the bell, the stamper and the lease of a process."""

    database: Database
    doorbell: Doorbell
    stamper: Stamper
    lease: Lease

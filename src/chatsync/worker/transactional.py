"""A handler of one's own with effects in this database: one transaction with the settlement."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias

from psycopg import pq

from chatsync.database import Connection
from chatsync.errors import Retry
from chatsync.events.stamped import Stamped
from chatsync.queue.handler import Applied, Settlement, bounded
from chatsync.queue.message import QueueMessage
from chatsync.worker.message import Message, Payload, Reader
from chatsync.worker.producer import Producer

Book: TypeAlias = Callable[[Connection, list[Message[Payload]]], Awaitable[None]]


class Transactional(Generic[Payload]):
    """Calls a function with batches; the fence undoes what it did when the lease was lost."""

    # There is little to prepare, and each part would be a transaction; while some batches wait for
    # the disk, others are worked on.
    batches = 4
    part = 2000

    def __init__(
        self,
        function: Book[Payload],
        reader: Reader[Payload],
        producer: Producer,
        *,
        timeout_seconds: float,
    ) -> None:
        self._function = function
        self._reader = reader
        self._producer = producer
        self._timeout_seconds = timeout_seconds

    def prepare(self, messages: Sequence[QueueMessage]) -> list[Message[Payload]]:
        """Raises Permanent when the payload of any of them does not fit."""
        return [self._reader.read(message) for message in messages]

    async def apply_and_settle(
        self, connection: Connection, prepared: list[Message[Payload]], settlement: Settlement
    ) -> Applied:
        async with connection.transaction():
            await self.apply_carefully(connection, prepared)
            cursor = await connection.execute(
                "select chatsync.settle(%s, %s, p_is_part => %s)",
                [settlement.lease_id, settlement.done, settlement.is_part],
            )
            row = await cursor.fetchone()
        self._producer.ring_for(connection)
        # Whether it published is for the stamper to find out.
        return Applied(bool(row and row[0]), Stamped(frozenset(), is_left=True))

    async def apply_carefully(
        self, connection: Connection, prepared: list[Message[Payload]]
    ) -> None:
        await bounded(self._function(connection, prepared), self._timeout_seconds)
        # Found out now, it can still be undone and be charged to its message.
        if connection.info.transaction_status is not pq.TransactionStatus.INTRANS:
            raise Retry("the handler hid an error of the database, or ended its transaction")

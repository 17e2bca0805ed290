"""Enqueues for a worker: many messages in one round trip, in a transaction of its own or given."""

from weakref import WeakKeyDictionary

from pydantic_core import to_json

from chatsync.database import Connection, Database
from chatsync.events.doorbell import Doorbell
from chatsync.events.hint import Hint
from chatsync.worker.message import NewMessage

# What comes after such a silence rings in its own call, a round trip earlier. A busy producer
# leaves that to the ringer: of eight that did not, up to 1 % waited for the lock of NOTIFY.
LONE_SECONDS = 0.03


class Producer:
    """Writes into queues, and rings when that is committed."""

    def __init__(self, database: Database, doorbell: Doorbell, *, max_retries: int) -> None:
        self._database = database
        self._doorbell = doorbell
        self._max_retries = max_retries
        # Queues to ring for when the transaction of a handler commits.
        self._waiting: WeakKeyDictionary[Connection, set[str]] = WeakKeyDictionary()

    async def enqueue_many(
        self, messages: list[NewMessage], connection: Connection | None = None
    ) -> list[int]:
        """Their ids, in order. Raises QueueFull, DatabaseUnavailable, and psycopg.Error for what is
        refused.

        With a connection they become true with its transaction.
        """
        if connection is not None:
            ids = await self._insert(connection, messages)
            self._waiting.setdefault(connection, set()).update(m.queue for m in messages)
            return ids
        queues = {message.queue for message in messages}
        if self._doorbell.takes_lead(LONE_SECONDS):
            ids = await self._insert_and_ring(messages, queues)
            self._doorbell.hear(Hint(queues=frozenset(queues)))
        else:
            ids = await self._insert_alone(messages)
            self._ring(queues)
        return ids

    def ring_for(self, connection: Connection) -> None:
        """After a transaction of a handler: wake whoever waits for what it enqueued."""
        if queues := self._waiting.pop(connection, None):
            self._ring(queues)

    async def _insert(self, connection: Connection, messages: list[NewMessage]) -> list[int]:
        """In a transaction of somebody's."""
        cursor = await connection.execute(
            "select chatsync.enqueue_many(%s, %s)",
            [to_json(messages).decode(), self._max_retries],
        )
        row = await cursor.fetchone()
        assert row is not None
        return row[0]

    async def _insert_alone(self, messages: list[NewMessage]) -> list[int]:
        async with self._database.connection() as connection:
            row = await connection.ask(
                "select chatsync.enqueue_many($1, $2)",
                to_json(messages).decode(),
                str(self._max_retries),
            )
        assert row is not None
        return row[0]

    async def _insert_and_ring(self, messages: list[NewMessage], queues: set[str]) -> list[int]:
        async with self._database.connection() as connection:
            row = await connection.ask(
                "call chatsync.enqueue_many_and_ring($1, $2, string_to_array($3, ','), $4)",
                to_json(messages).decode(),
                str(self._max_retries),
                ",".join(sorted(queues)),
                self._doorbell.name,
            )
        assert row is not None
        return row[0]

    def _ring(self, queues: set[str]) -> None:
        self._doorbell.ring(Hint(queues=frozenset(queues)))

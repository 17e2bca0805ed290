"""A worker of one's own: handlers are registered, then `run` works their queues off.

It reads the environment through the settings alone; a URL that is given goes before it.
"""

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, overload

from chatsync import settings as settings_module
from chatsync.database import Connection
from chatsync.errors import ConfigError, SchemaMismatch
from chatsync.migrate import pending
from chatsync.queue.batches import Batches
from chatsync.queue.enqueue import INBOUND
from chatsync.queue.external import External
from chatsync.queue.message import QueueMessage
from chatsync.queue.service import enqueuing, worker_process
from chatsync.queue.worker import WorkOff
from chatsync.queue.workplace import Workplace
from chatsync.settings import Settings
from chatsync.supervision import until_signal
from chatsync.telemetry import logs
from chatsync.worker.message import Message, NewMessage, Payload, Reader
from chatsync.worker.producer import Producer
from chatsync.worker.transactional import Book, Transactional

Send: TypeAlias = Callable[[Message[Payload]], Awaitable[None]]
_Function = TypeVar("_Function", bound=Callable[..., Awaitable[None]])
_Build: TypeAlias = Callable[[Workplace, Producer], WorkOff]

_QUEUE = re.compile(r"[a-z][a-z0-9_.-]{0,62}")


class Worker:
    """Works off queues with functions of one's own, beside `chatsync work` and others.

    `database_url` is CHATSYNC_DATABASE_URL's unless given; at most `batch_size` messages are
    claimed at once; `grace_seconds` are left to handlers when the worker is told to end.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        batch_size: int = 100,
        grace_seconds: float = 10.0,
    ) -> None:
        self._database_url = database_url
        self._batch_size = batch_size
        self._grace_seconds = grace_seconds
        self._builds: dict[str, _Build] = {}
        self._producer: Producer | None = None

    @overload
    def handler(
        self, queue: str, *, payload: type[Payload], timeout: float = ..., concurrency: int = ...
    ) -> Callable[[Send[Payload]], Send[Payload]]: ...
    @overload
    def handler(
        self, queue: str, *, timeout: float = ..., concurrency: int = ...
    ) -> Callable[[Send[Any]], Send[Any]]: ...
    def handler(
        self,
        queue: str,
        *,
        payload: type[Payload] | None = None,
        timeout: float = 30.0,
        concurrency: int = 10,
    ) -> Callable[[Send[Payload]], Send[Payload]]:
        """Register a function for effects elsewhere: called for each message, at least once.

        `timeout` seconds are left to each call; `concurrency` messages are handled at once, those
        of one ordering key one after the other. Raises ValueError for what cannot be registered.
        """
        if concurrency < 1:
            raise ValueError("concurrency must be 1 or more")
        reader = Reader(payload)

        def register(function: Send[Payload]) -> Send[Payload]:
            async def handle(message: QueueMessage) -> None:
                await function(reader.read(message))

            def build(workplace: Workplace, _producer: Producer) -> WorkOff:
                return External(handle, workplace, timeout_seconds=timeout, concurrency=concurrency)

            return self._register(queue, function, build)

        return register

    @overload
    def transactional(
        self, queue: str, *, payload: type[Payload], timeout: float = ...
    ) -> Callable[[Book[Payload]], Book[Payload]]: ...
    @overload
    def transactional(
        self, queue: str, *, timeout: float = ...
    ) -> Callable[[Book[Any]], Book[Any]]: ...
    def transactional(
        self, queue: str, *, payload: type[Payload] | None = None, timeout: float = 30.0
    ) -> Callable[[Book[Payload]], Book[Payload]]:
        """Register a function for effects in this database: called with a connection and a batch.

        The connection is inside the transaction that settles the batch. Raises ValueError for what
        cannot be registered.
        """
        reader = Reader(payload)

        def register(function: Book[Payload]) -> Book[Payload]:
            def build(workplace: Workplace, producer: Producer) -> WorkOff:
                handler = Transactional(function, reader, producer, timeout_seconds=timeout)
                return Batches(handler, workplace, timeout_seconds=timeout)

            return self._register(queue, function, build)

        return register

    async def enqueue(
        self,
        queue: str,
        tenant_id: str,
        payload: object,
        *,
        message_type: str | None = None,
        ordering_key: str | None = None,
        dedupe_key: str | None = None,
        priority: int = 0,
        scheduled_at: datetime | None = None,
        correlation_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
        inbox_id: int | None = None,
        max_retries: int | None = None,
        connection: Connection | None = None,
    ) -> int:
        """Put a message in line and return its id; see NewMessage and enqueue_many()."""
        message = NewMessage(
            queue=queue,
            tenant_id=tenant_id,
            payload=payload,
            message_type=message_type,
            ordering_key=ordering_key,
            dedupe_key=dedupe_key,
            priority=priority,
            scheduled_at=scheduled_at,
            correlation_id=correlation_id,
            metadata=metadata or {},
            inbox_id=inbox_id,
            max_retries=max_retries,
        )
        return (await self.enqueue_many([message], connection=connection))[0]

    async def enqueue_many(
        self, messages: Iterable[NewMessage], *, connection: Connection | None = None
    ) -> list[int]:
        """Put messages in line in one round trip, and return their ids in order.

        With the connection of a transactional handler they become true with its transaction.
        Raises ConfigError outside `running`, QueueFull, DatabaseUnavailable, and psycopg.Error for
        what the database refuses.
        """
        if self._producer is None:
            raise ConfigError("the worker is not running: enqueue inside `async with running()`")
        return await self._producer.enqueue_many(list(messages), connection)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Raises ConfigError and SchemaMismatch."""
        settings = self._settings()
        if not logging.getLogger().handlers:
            logs.configure(log_format=settings.log_format, log_level=settings.log_level)
        asyncio.run(until_signal(self.running()))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Work while the body runs; without a handler only enqueue.

        Raises ConfigError and SchemaMismatch.
        """
        settings = self._settings()
        if files := await asyncio.to_thread(pending, settings.require_database_url()):
            raise SchemaMismatch(f"run `chatsync migrate` first: {len(files)} files to apply")

        retries = settings.max_retries

        def fit(workplace: Workplace) -> Mapping[str, WorkOff]:
            producer = Producer(workplace.database, workplace.doorbell, max_retries=retries)
            self._producer = producer
            return {queue: build(workplace, producer) for queue, build in self._builds.items()}

        try:
            if self._builds:
                async with worker_process(settings, fit, grace_seconds=self._grace_seconds):
                    yield
            else:
                async with enqueuing(settings) as (database, doorbell):
                    self._producer = Producer(database, doorbell, max_retries=retries)
                    yield
        finally:
            self._producer = None

    def _register(self, queue: str, function: _Function, build: _Build) -> _Function:
        if not _QUEUE.fullmatch(queue):
            raise ValueError(f"{queue!r} is no name of a queue: small letters, digits, _ . and -")
        if queue == INBOUND:
            raise ValueError(f"the queue {queue} is chatsync's own")
        if queue in self._builds:
            raise ValueError(f"the queue {queue} has a handler already")
        if not inspect.iscoroutinefunction(function):
            raise ValueError("a handler is an `async def`; asyncio.to_thread() calls what blocks")
        self._builds[queue] = build
        return function

    def _settings(self) -> Settings:
        given = {} if self._database_url is None else {"database_url": self._database_url}
        return settings_module.load(**given, batch_size=self._batch_size)

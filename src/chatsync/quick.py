"""A connection that can be asked at little more than what libpq costs.

A cursor and a new reader of the socket for each statement cost a process several times what the
statement does: measured on one machine, 50 µs and here 10. Must not be used for what is large,
since an answer is read as a whole.
"""

import asyncio
from collections.abc import Callable
from typing import Any, LiteralString, TypeAlias, TypeVar

import psycopg
from psycopg import adapt, generators, pq
from psycopg.abc import PQGen, Transformer
from psycopg.errors import error_from_result
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

Hear: TypeAlias = Callable[[str, str], None]
_T = TypeVar("_T")


class QuickConnection(psycopg.AsyncConnection[TupleRow]):
    """A connection of psycopg's, and `ask` and `hear` besides."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # The descriptor whose reader is ours; psycopg's own waiting takes it away.
        self._reads: int | None = None
        self._results: list[PGresult] = []
        self._answered: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._hears: Hear | None = None
        self._names: dict[str, bytes] = {}
        self._loading: Transformer | None = None

    async def ask(self, query: LiteralString, *parameters: str | None) -> tuple[Any, ...] | None:
        """The first row that a statement of `$1` and `$2` returns, in autocommit, or None.

        Prepared when it is asked first. Whoever is stopped in the middle ends the connection.
        Raises psycopg.Error.
        """
        rows = await self.ask_all(query, *parameters)
        return rows[0] if rows else None

    async def ask_all(
        self, query: LiteralString, *parameters: str | None, is_binary: bool = False
    ) -> list[tuple[Any, ...]]:
        """All rows, as `ask` gets one; `is_binary` is how they travel."""
        encoded = [None if each is None else each.encode() for each in parameters]
        async with self.lock:
            try:
                return await self._run(query, encoded, is_binary)
            except psycopg.errors.InvalidSqlStatementName:
                # After a rollback psycopg has the server forget all that was prepared.
                self._names.clear()
                return await self._run(query, encoded, is_binary)

    async def hear(self, hear: Hear) -> None:
        """Pass on the channel and payload of each notification until the link breaks.

        Nothing but `ask` may be done with the connection meanwhile. Raises psycopg.OperationalError
        when it breaks.
        """
        self._hears = hear
        self._ended = asyncio.get_running_loop().create_future()
        self._read_on()
        await self._ended

    async def wait(self, gen: PQGen[_T], *arguments: Any, **named: Any) -> _T:
        self._stop_reading()
        return await super().wait(gen, *arguments, **named)

    async def close(self) -> None:
        self._stop_reading()
        await super().close()

    async def _run(
        self, query: str, encoded: list[bytes | None], is_binary: bool
    ) -> list[tuple[Any, ...]]:
        name = self._names.get(query)
        if name is None:
            name = b"quick_%d" % len(self._names)
            self.pgconn.send_prepare(name, query.encode())
            await self._answer()
            self._names[query] = name
        self.pgconn.send_query_prepared(name, encoded, result_format=int(is_binary))
        return self._rows(await self._answer())

    async def _answer(self) -> PGresult:
        """The result of what was sent, when nothing can follow it: it is committed by then."""
        try:
            if self.pgconn.flush():
                # More than the socket takes at once.
                await self.wait(generators.send(self.pgconn))
            self._results = []
            self._answered = asyncio.get_running_loop().create_future()
            self._read_on()
            await self._answered
        except BaseException:
            self._stop_reading()
            self.pgconn.finish()
            raise
        finally:
            self._answered = None
        for result in self._results:
            if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
                raise error_from_result(result, self.info.encoding)
        return self._results[0]

    def _rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        if result.ntuples == 0:
            return []
        if self._loading is None:
            self._loading = adapt.Transformer(self)
        self._loading.set_pgresult(result)
        return self._loading.load_rows(0, result.ntuples, tuple)

    def _read_on(self) -> None:
        if self._reads is None:
            self._reads = self.pgconn.socket
            asyncio.get_running_loop().add_reader(self._reads, self._on_readable)

    def _stop_reading(self) -> None:
        # After an error the descriptor may be closed already, and is nobody else's yet.
        if self._reads is not None:
            asyncio.get_running_loop().remove_reader(self._reads)
            self._reads = None

    def _on_readable(self) -> None:
        try:
            self.pgconn.consume_input()
            self._pass_on()
            self._take_results()
        except psycopg.Error as error:
            self._stop_reading()
            for waiting in (self._answered, self._ended):
                if waiting is not None and not waiting.done():
                    waiting.set_exception(error)

    def _pass_on(self) -> None:
        while (notification := self.pgconn.notifies()) is not None:
            if self._hears is not None:
                self._hears(notification.relname.decode(), notification.extra.decode())

    def _take_results(self) -> None:
        if self._answered is None or self._answered.done():
            return
        while not self.pgconn.is_busy():
            result = self.pgconn.get_result()
            if result is None:
                self._answered.set_result(None)
                return
            self._results.append(result)

"""A connection that is asked past psycopg's cursors, on both event loops that a gateway runs on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import psycopg
import pytest
import uvloop
from psycopg import errors

from chatsync.database import Link, connect
from chatsync.quick import QuickConnection

Story: TypeAlias = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Story:
    """Run a story on one of the loops."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runs(story: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await story()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return runs


async def opened(url: str) -> QuickConnection:
    return await connect(url, "chatsync_gateway")


async def end_backend(url: str, victim: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await other.execute("select pg_terminate_backend(%s)", [victim.info.backend_pid])


def test_a_row_has_the_types_of_its_columns(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            query = "select $1::int, $2::text, $2 is null, array['a', null], '{\"b\": 1}'::jsonb"
            for number, text in (("7", "é,\n"), ("-1", None), ("0", "")):
                row = await connection.ask(query, number, text)
                assert row == (int(number), text, text is None, ["a", None], {"b": 1})
            assert await connection.ask("select 1 where false") is None

    run(story)


def test_asking_and_cursors_take_turns_on_one_connection(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:

            async def by_cursor(number: int) -> int:
                row = await (await connection.execute("select %s::int", [number])).fetchone()
                assert row is not None
                return row[0]

            async def by_asking(number: int) -> int:
                row = await connection.ask("select $1::int", str(number))
                assert row is not None
                return row[0]

            wanted = [(by_cursor, by_asking)[number % 2](number) for number in range(20)]
            assert await asyncio.gather(*wanted) == list(range(20))

    run(story)


def test_more_than_the_socket_takes_at_once_is_sent(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            large = "x" * 5_000_000
            assert await connection.ask("select length($1), $1", large) == (len(large), large)
            assert await connection.ask("select 1") == (1,)

    run(story)


def test_an_error_has_its_class_and_the_connection_goes_on(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            for _ in range(2):
                with pytest.raises(errors.DivisionByZero):
                    await connection.ask("select 1 / $1::int", "0")
            with pytest.raises(errors.UndefinedTable):
                await connection.ask("select * from nowhere")
            assert await connection.ask("select 1 / $1::int", "1") == (1,)

    run(story)


def test_an_error_of_the_commit_is_no_answer(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            await connection.execute(
                "create temp table pairs (id int unique deferrable initially deferred)"
            )
            with pytest.raises(errors.UniqueViolation):
                await connection.ask("insert into pairs values (1), (1) returning id")

    run(story)


def test_who_is_stopped_in_the_middle_ends_the_connection(run: Story, database_url: str) -> None:
    async def story() -> None:
        link = Link(database_url, "chatsync_gateway", "test", None)
        async with link.connection() as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await connection.ask("select pg_sleep(20)")
            assert connection.closed
        async with link.connection() as another:
            assert await another.ask("select 1") == (1,)
        await link.close()

    run(story)


def test_who_waits_on_a_link_that_breaks_is_told(run: Story, database_url: str) -> None:
    async def story() -> None:
        connection, listener = await opened(database_url), await opened(database_url)
        asking = asyncio.create_task(connection.ask("select pg_sleep(20)"))
        hearing = asyncio.create_task(listener.hear(lambda *_: None))
        await asyncio.sleep(0)
        for each in (connection, listener):
            await end_backend(database_url, each)
        for waiting in (asking, hearing):
            with pytest.raises(psycopg.OperationalError):
                await waiting
        for each in (connection, listener):
            assert each.closed
            await each.close()

    run(story)


def test_a_connection_that_ended_while_nobody_asked_is_replaced(
    run: Story, database_url: str
) -> None:
    async def story() -> None:
        link = Link(database_url, "chatsync_gateway", "test", None)
        async with link.connection() as connection:
            assert await connection.ask("select 1") == (1,)
        await end_backend(database_url, connection)
        while not connection.closed:  # noqa: ASYNC110 - the loop itself finds out
            await asyncio.sleep(0)
        async with link.connection() as another:
            assert another is not connection
            assert await another.ask("select 1") == (1,)
        await link.close()

    run(story)


def test_what_is_rung_is_heard_whether_or_not_something_is_asked(
    run: Story, database_url: str
) -> None:
    async def story() -> None:
        connection = await opened(database_url)
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        await connection.execute("listen somewhere")
        hearing = asyncio.create_task(connection.hear(lambda *said: heard.put_nowait(said)))
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            for word in ("one", "é"):
                await other.execute("select pg_notify('somewhere', %s)", [word])
                assert await heard.get() == ("somewhere", word)
        assert await connection.ask("select pg_notify($1, $2)", "somewhere", "mine") is not None
        assert await heard.get() == ("somewhere", "mine")
        hearing.cancel()
        await connection.close()

    run(story)


def test_what_was_prepared_is_prepared_again_when_psycopg_had_it_forgotten(
    run: Story, database_url: str
) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            assert await connection.ask("select $1 || '!'", "before") == ("before!",)
            await connection.execute("deallocate all")

            assert await connection.ask("select $1 || '!'", "after") == ("after!",)

    run(story)


def test_all_rows_come_in_text_and_in_binary(run: Story, database_url: str) -> None:
    async def story() -> None:
        async with await opened(database_url) as connection:
            query = "select n, 'é', now() > '2020-01-01', null from generate_series(1, $1) as n"
            for is_binary in (False, True):
                rows = await connection.ask_all(query, "2", is_binary=is_binary)
                assert rows == [(1, "é", True, None), (2, "é", True, None)]

    run(story)

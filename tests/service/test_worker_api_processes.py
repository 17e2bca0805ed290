"""Worker processes that are stopped, killed and paused: what they held goes on elsewhere."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import SyncConnection
from service.harness import Process, wait_for
from service.worker_api import QUEUE, connect, enqueue, is_empty, letters
from sql.queue_calls import value

# Tells of itself in a table, since it shares nothing else with the test. What is called "slow" goes
# on when the test lets it.
SCRIPT = f"""
import asyncio, os, sys
import psycopg
from chatsync.worker import Message, Worker

name = sys.argv[1]
worker = Worker(grace_seconds=float(sys.argv[2]))


async def tell(what: str, label: str) -> None:
    async with await psycopg.AsyncConnection.connect(
        os.environ["CHATSYNC_DATABASE_URL"], autocommit=True
    ) as connection:
        await connection.execute("insert into public.told values (%s, %s, %s)", [name, what, label])
        while label == "slow" and what == "began":
            cursor = await connection.execute("select exists (select from public.let_go)")
            if (await cursor.fetchone())[0]:
                break
            await asyncio.sleep(0.02)


@worker.handler({QUEUE!r}, payload=str)
async def handle(message: Message[str]) -> None:
    # At once, since a call that is cancelled soon after its beginning was one all the same.
    with open(sys.argv[3], "a") as called:
        print(f"{{name}}: {{message.payload}}", file=called)
    await tell("began", message.payload)
    await tell("done", message.payload)


worker.run()
"""


@pytest.fixture
def application(database_url: str) -> Generator[SyncConnection]:
    with connect(database_url) as application:
        application.execute(
            "create table public.told (name text, what text, label text,"
            " at timestamptz not null default clock_timestamp());"
            " create table public.let_go ()"
        )
        yield application


@contextmanager
def process(
    folder: Path, database_url: str, name: str, grace_seconds: float = 10
) -> Generator[Process]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, str(script), name, str(grace_seconds), str(folder / "called")],
            env={**os.environ, "CHATSYNC_DATABASE_URL": database_url},
            stdout=output,
            stderr=output,
        )
    try:
        yield Process(popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()


def told(application: SyncConnection, what: str = "done") -> list[tuple[object, ...]]:
    return application.execute(
        "select name, label from public.told where what = %s order by at", [what]
    ).fetchall()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_after_what_is_under_way(
    database_url: str,
    owner: SyncConnection,
    application: SyncConnection,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    for label in ("slow", "behind"):
        enqueue(owner, label, "a")
    with process(tmp_path, database_url, "one") as one:
        wait_for(lambda: told(application, "began"), "the beginning")
        one.kill(number)
        wait_for(lambda: "drain_began" in one.log.read_text(), "the signal's arrival")
        application.execute("insert into public.let_go default values")
        assert one.wait() == 0

    assert told(application) == [("one", "slow")]
    rows = owner.execute("select status, retry_count from chatsync.message_queue").fetchall()
    assert rows == [("pending", 0)]
    assert value(owner, "select count(*) from chatsync.workers") == 0
    assert "Traceback" not in one.log.read_text()


def test_what_does_not_end_in_time_is_given_back_uncharged(
    database_url: str, owner: SyncConnection, application: SyncConnection, tmp_path: Path
) -> None:
    enqueue(owner, "slow", "a")
    with process(tmp_path, database_url, "one", grace_seconds=0.1) as one:
        wait_for(lambda: told(application, "began"), "the beginning")
        one.kill(signal.SIGTERM)
        assert one.wait() == 0

    rows = owner.execute(
        "select status, retry_count, deaths from chatsync.message_queue"
    ).fetchall()
    assert rows == [("pending", 0, 0)]
    assert "Traceback" not in one.log.read_text()


def test_the_work_of_a_killed_worker_goes_on_elsewhere_in_order(
    database_url: str, owner: SyncConnection, application: SyncConnection, tmp_path: Path
) -> None:
    for label in ("first", "slow", "behind"):
        enqueue(owner, label, "a")
    with process(tmp_path, database_url, "doomed") as doomed:
        wait_for(lambda: ("doomed", "slow") in told(application, "began"), "the beginning")
        with process(tmp_path, database_url, "other"):
            doomed.kill()
            doomed.wait()
            application.execute("insert into public.let_go default values")
            wait_for(lambda: is_empty(owner), "the end of the queue")

    assert told(application) == [("doomed", "first"), ("other", "slow"), ("other", "behind")]
    assert letters(owner) == []


def test_a_worker_that_was_paused_begins_nothing_that_others_have(
    database_url: str, owner: SyncConnection, application: SyncConnection, tmp_path: Path
) -> None:
    """It slept longer than its lease: what it holds is done by another one, and not again by it."""
    for label in ("slow", "behind"):
        enqueue(owner, label, "a")
    with process(tmp_path, database_url, "paused") as paused:
        wait_for(lambda: told(application, "began"), "the beginning")
        paused.kill(signal.SIGSTOP)
        application.execute("insert into public.let_go default values")
        with process(tmp_path, database_url, "other"):
            # Its lock is still there, so this takes until its lease is over.
            wait_for(lambda: is_empty(owner), "the end of the queue")
            paused.kill(signal.SIGCONT)
            # It hears of it, and takes part again.
            wait_for(lambda: "lease_lost" in paused.log.read_text(), "the news")
            wait_for(
                lambda: value(owner, "select count(*) = 2 from chatsync.workers"), "the return"
            )

    assert sorted((tmp_path / "called").read_text().splitlines()) == [
        "other: behind",
        "other: slow",
        "paused: slow",
    ]
    assert "settlement_failed" not in paused.log.read_text()

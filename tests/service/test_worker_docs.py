"""The examples of docs/workers.md do what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from conftest import SyncConnection
from service.harness import PATIENCE_SECONDS, wait_for
from service.worker_api import connect, is_empty
from sql.queue_calls import value

PAGE = (Path(__file__).parents[2] / "docs" / "workers.md").read_text(encoding="utf-8")

# What the first example imports: it writes down what it delivers, and is busy once.
MAILBOX = """
import os

class Busy(Exception):
    seconds = 0.1

async def deliver(to, subject, once):
    with open("sent", "a+") as sent:
        sent.seek(0)
        if to == "busy@example.com" and once + "\\n" not in sent.read():
            print(once, file=sent)
            raise Busy
        print(f"{to}: {subject}", file=sent)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scripts of the page, by the names in their first lines."""
    for block in blocks("python"):
        (tmp_path / block.split("\n")[0].removeprefix("# ")).write_text(block)
    (tmp_path / "mailbox_of_ours.py").write_text(MAILBOX)
    return tmp_path


@contextmanager
def script(folder: Path, name: str, database_url: str) -> Generator["subprocess.Popen[str]"]:
    with (folder / f"{name}.log").open("a") as log:
        popen = subprocess.Popen(
            [sys.executable, name],
            cwd=folder,
            env={
                **os.environ,
                "CHATSYNC_DATABASE_URL": database_url,
                # A relative entry would mean another folder.
                "PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path),
            },
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield popen
    finally:
        if popen.poll() is None:
            popen.terminate()
        popen.communicate(timeout=PATIENCE_SECONDS)


def test_the_scripts_send_book_and_enqueue(
    database_url: str, owner: SyncConnection, folder: Path
) -> None:
    with connect(database_url) as application:
        application.execute("create table public.ledger (account text, amount integer)")
        application.execute("grant insert on public.ledger to chatsync_worker")
        for to in ("ana@example.com", "busy@example.com", "nowhere"):
            owner.execute(
                "select chatsync.enqueue('outgoing_mail', 'acme', 'mail', jsonb_build_object("
                "'to', %s::text, 'subject', 'hello'))",
                [to],
            )
        with ExitStack() as stack:
            for name in ("mailer.py", "ledger.py"):
                stack.enter_context(script(folder, name, database_url))
            with script(folder, "producer.py", database_url) as producer:
                assert producer.communicate(timeout=PATIENCE_SECONDS)[0] == "enqueued 2\n"
            wait_for(lambda: is_empty(owner), "the end of the queues")

        rows = application.execute("select * from public.ledger order by account, amount")
        assert rows.fetchall() == [("a-1", 5), ("a-2", 10), ("a-2", 2000)]

    sent = [line for line in (folder / "sent").read_text().splitlines() if ": " in line]
    assert sorted(sent) == [
        "ana@example.com: hello",
        "busy@example.com: hello",
        "office@example.com: large: 2000",
    ]
    letters = owner.execute("select error_message from chatsync.failed_messages").fetchall()
    assert letters == [("that is no address",)]
    for log in folder.glob("*.log"):
        assert "Traceback" not in log.read_text()


def test_the_recipe_in_sql_completes_one_puts_one_off_and_gives_one_up(
    database_url: str, owner: SyncConnection
) -> None:
    (recipe,) = blocks("sql")
    variables: dict[str, Any] = {}
    with psycopg.connect(database_url, autocommit=True) as session:
        cursor = session.cursor(row_factory=dict_row)
        for statement, end in re.findall(r"(.+?)(;|\\gset)\n", recipe, re.DOTALL):
            for name in ("lease_id", "id"):
                statement = statement.replace(f"(:{name}", f"({variables.get(name)}")
                statement = statement.replace(f" :{name}", f" {variables.get(name)}")
            cursor.execute(statement.encode())
            if end == r"\gset":
                row = cursor.fetchone()
                assert row is not None
                variables = row
        assert cursor.fetchall()[0]["error_message"] == "that is no address"

        rows = owner.execute(
            "select payload ->> 'to', status, last_error from chatsync.message_queue"
        ).fetchall()
        assert rows == [("ben@example.com", "retrying", "the server is busy")]
        assert value(owner, "select summary ->> 'to' from chatsync.failed_messages") == "nobody"

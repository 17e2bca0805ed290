"""`chatsync queue watch`, in a pipe and in a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from conftest import SyncConnection
from service.command_line import Operator
from service.harness import PATIENCE_SECONDS, process, wait_for
from sql.queue_calls import enqueue


def test_watch_prints_a_line_a_look_with_rates_and_ends_on_ctrl_c(
    database_url: str, worker: SyncConnection, tenant: str, tmp_path: Path
) -> None:
    assert tenant
    log = tmp_path / "watch"

    def looks() -> list[Any]:
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    watch = ("queue", "watch", "--json", "--interval", "0.05")
    with process(*watch, database_url=database_url, log=log) as watching:
        wait_for(looks, "the first look")
        worker.execute(
            "insert into chatsync.message_queue (queue, tenant_id, message_type, correlation_id)"
            " select 'outbound', 't1', 'test', 'c' from generate_series(1, 50)"
        )
        worker.execute("select pg_stat_force_next_flush()")
        worker.execute("select 1")

        def rates() -> list[Any]:
            return [look for look in looks() if look["enqueued_per_second"] > 0]

        first = wait_for(rates, "a look at what came")[0]
        watching.kill(signal.SIGINT)
        assert watching.wait() == 0
    assert first["gone_per_second"] == 0
    assert looks()[0]["queues"] == []
    assert looks()[-1]["queues"][0]["pending"] == 50
    assert any(look["queues"] and look["queues"][0]["change_per_second"] > 0 for look in looks())


def test_watch_draws_tables(operator: Operator, worker: SyncConnection, tenant: str) -> None:
    assert tenant
    enqueue(worker, "k", 1)
    said = operator("watch", "--count", 2, "--interval", 0.05)
    assert said.code == 0
    assert said.out.count("CHANGE PER SECOND") == 2
    assert "\x1b" not in said.out, "what is piped is drawn without moving a cursor"


def test_watch_draws_over_itself_in_a_terminal(database_url: str) -> None:
    outside, inside = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "chatsync", "queue", "watch", "--count", "2", "--interval", "0.05"],
        env={**os.environ, "CHATSYNC_DATABASE_URL": database_url},
        stdin=subprocess.DEVNULL,
        stdout=inside,
    )
    os.close(inside)
    drawn = b""
    # The terminal's end is an error of the one who reads it.
    with suppress(OSError), os.fdopen(outside, "rb", buffering=0) as screen:
        while part := screen.read(4096):
            drawn += part
    assert watching.wait(timeout=PATIENCE_SECONDS) == 0
    assert drawn.count(b"\x1b[H") == 2, "each look begins at the top"
    assert drawn.endswith(b"\x1b[J"), "what a longer look left is cleared"
    assert b"every queue is empty" in drawn

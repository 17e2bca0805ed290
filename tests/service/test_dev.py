"""`chatsync dev`: one command, everything runs; and every way out leaves nothing behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chatsync.dev import state
from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.dev.postgres.cluster import folder_of
from chatsync.dev.postgres.postmaster import processes_of
from service.harness import free_port, wait_for


@pytest.fixture
def data_dir(tmp_path: Path) -> Generator[Path]:
    """Where `chatsync dev` keeps its data; a folder with spaces and accents above it."""
    folder = tmp_path / "dados com acentuação" / "data"
    folder.parent.mkdir()
    yield folder
    # As root, the cluster may lie outside of pytest's own folder.
    EmbeddedPostgres(folder).remove()


@contextmanager
def dev(data_dir: Path, port: int) -> Generator["subprocess.Popen[bytes]"]:
    """`chatsync dev` on a data folder; killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if "CHATSYNC" not in name}
    with (data_dir.parent / "out").open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "chatsync", "dev", "--port", str(port)],
            env=environment | {"CHATSYNC_DATA_DIR": str(data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield popen
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGTERM)
        popen.wait(timeout=30)


def printed(data_dir: Path) -> str:
    return (data_dir.parent / "out").read_text(encoding="utf-8")


def until_ready(data_dir: Path) -> None:
    wait_for(lambda: "chatsync is ready" in printed(data_dir), "the greeting")


def conversations(port: int, data_dir: Path) -> list[dict[str, Any]]:
    found = re.search(r"export TOKEN=(\S+)", printed(data_dir))
    assert found is not None
    headers = {"Authorization": f"Bearer {found[1]}"}
    answer = httpx2.get(f"http://127.0.0.1:{port}/api/conversations", headers=headers)
    return list(answer.json()["items"])


async def run(command: str) -> str:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()


async def test_the_printed_lines_work_and_the_data_stay(data_dir: Path) -> None:
    port = free_port()
    with dev(data_dir, port):
        until_ready(data_dir)
        (webhook,) = re.findall(r"^curl .*/webhooks/whatsapp .*$", printed(data_dir), re.MULTILINE)
        assert (await run(webhook)).strip() == "200"
        assert (await run(webhook)).strip() == "200"
        (one,) = wait_for(
            lambda: [c for c in conversations(port, data_dir) if c["unreadCount"] == 2],
            "the second message",
        )
    with dev(data_dir, port):
        until_ready(data_dir)
        (again,) = conversations(port, data_dir)

    assert again == one
    assert "Traceback" not in printed(data_dir)
    assert (data_dir / "dev.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_no_process(data_dir: Path, number: int) -> None:
    with dev(data_dir, free_port()) as running:
        until_ready(data_dir)
        assert processes_of(folder_of(data_dir))
        running.send_signal(number)
        assert running.wait(timeout=20) in {0, 130}

    assert not processes_of(folder_of(data_dir))
    assert "Traceback" not in printed(data_dir)


def test_after_a_kill_it_starts_again(data_dir: Path) -> None:
    port = free_port()
    with dev(data_dir, port) as running:
        until_ready(data_dir)
        running.kill()
        running.wait(timeout=10)
    with dev(data_dir, port):
        until_ready(data_dir)
        assert conversations(port, data_dir) == []


def test_a_port_in_use_is_one_sentence(data_dir: Path, tmp_path: Path) -> None:
    port = free_port()
    with dev(data_dir, port):
        until_ready(data_dir)
        other = tmp_path / "other" / "data"
        other.parent.mkdir()
        with dev(other, port) as second:
            assert second.wait(timeout=20) == 2

    assert printed(other).count("\n") == 1
    assert "Address already in use" in printed(other)


def test_it_uses_the_database_that_it_is_given(data_dir: Path, database_url: str) -> None:
    arguments = [sys.executable, "-m", "chatsync", "dev", "--port", str(free_port())]
    environment = {"CHATSYNC_DATA_DIR": str(data_dir), "CHATSYNC_DATABASE_URL": database_url}
    with (data_dir.parent / "out").open("wb") as output:
        popen = subprocess.Popen(arguments, env=os.environ | environment, stdout=output)
    try:
        until_ready(data_dir)
        kept = state.load(data_dir)
    finally:
        popen.terminate()
        popen.wait(timeout=20)

    assert kept is not None
    assert kept.database_url == database_url
    assert not (data_dir / "postgres").exists()

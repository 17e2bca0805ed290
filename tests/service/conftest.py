"""Fixtures of the service tests: a tenant with an inbox, a gateway with a worker, clean logs."""

import logging
import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from chatsync.dev.embedded import EmbeddedPostgres
from chatsync.migrate import migrate
from conftest import SyncConnection
from service.command_line import Operator
from service.harness import Gateway, create_inbox, running_gateway, settings_for

# They assert on behalf of tests, and are to say as much as a test does when they fail.
pytest.register_assert_rewrite(
    "service.presence", "service.recorded", "service.screen", "service.seen"
)


@pytest.fixture
def inbox_id(database_url: str) -> int:
    """The inbox of number 100 in the tenant t1."""
    return create_inbox(database_url)


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, with fsync on, since it is going to be killed."""
    bin_dir = os.environ.get("CHATSYNC_TEST_POSTGRES_BIN")
    with EmbeddedPostgres(tmp_path, bin_dir=Path(bin_dir) if bin_dir else None) as running:
        migrate(running.url)
        create_inbox(running.url)
        try:
            yield running
        finally:
            running.remove()


@pytest.fixture
def operator(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    return Operator(database_url, monkeypatch, capsys)


@pytest.fixture
def tenant(worker: SyncConnection) -> str:
    """The tenant t1."""
    worker.execute("select chatsync.create_tenant('t1')")
    return "t1"


@pytest.fixture
async def gateway(database_url: str, inbox_id: int) -> AsyncGenerator[Gateway]:
    assert inbox_id
    async with running_gateway(settings_for(database_url)) as running:
        yield running


@pytest.fixture
def clean_logs(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Generator[None]:
    """No traceback was logged by anybody, from the test's start to the end of its gateway."""
    yield
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output
    phases = [caplog.get_records(phase) for phase in ("setup", "call", "teardown")]
    bad = [
        record.getMessage()
        for records in phases
        for record in records
        if record.exc_info or record.levelno >= logging.ERROR
    ]
    assert bad == []

"""Fixtures of the service tests: a tenant with an inbox, a gateway with a worker, clean logs."""

import logging
from collections.abc import AsyncGenerator, Generator

import pytest

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

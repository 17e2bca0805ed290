"""`chatsync inbox set`, against a real database."""

import pytest
from click.testing import CliRunner, Result

from chatsync.cli.manage import inbox
from chatsync.errors import ConfigError
from conftest import SyncConnection
from sql.inbound_calls import create_inbox
from sql.queue_calls import value


@pytest.fixture
def inbox_id(worker: SyncConnection, tenant: str) -> int:
    assert tenant
    return create_inbox(worker)


def call(monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str) -> Result:
    monkeypatch.setenv("CHATSYNC_DATABASE_URL", url)
    return CliRunner().invoke(inbox, ["set", *arguments])


def test_an_operator_sets_how_long_a_conversation_may_be_reopened(
    monkeypatch: pytest.MonkeyPatch, database_url: str, worker: SyncConnection, inbox_id: int
) -> None:
    result = call(monkeypatch, database_url, "--inbox", str(inbox_id), "--reopen-hours", "48")
    assert result.exit_code == 0, result
    assert result.output == f"inbox {inbox_id} reopens within 48 hours\n"
    assert value(worker, "select reopen_hours from chatsync.inboxes") == 48


def test_an_inbox_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, database_url: str, inbox_id: int
) -> None:
    result = call(monkeypatch, database_url, "--inbox", str(inbox_id + 1), "--reopen-hours", "1")
    assert isinstance(result.exception, ConfigError)
    assert str(inbox_id + 1) in str(result.exception)


def test_hours_are_not_negative(
    monkeypatch: pytest.MonkeyPatch, database_url: str, inbox_id: int
) -> None:
    result = call(monkeypatch, database_url, "--inbox", str(inbox_id), "--reopen-hours", "-1")
    assert result.exit_code == 2

"""docs/operators.md: every query runs, and shows what it is there to show; every command exists."""

import re
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import LiteralString, cast

import click
import pytest
from click.testing import CliRunner

from chatsync.cli import cli
from conftest import Connections, SyncConnection
from sql.inbound_calls import create_inbox
from sql.queue_calls import claim, enqueue, register, settle

TEXT = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
SECTIONS = {part.splitlines()[0]: part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]}
QUERY = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    f"{name} {number}": block
    for name, part in SECTIONS.items()
    for number, block in enumerate(QUERY.findall(part))
}
COMMANDS = re.findall(r"^\$ chatsync (.*)$", TEXT, re.MULTILINE)
# On this database nobody waits for a lock, and nothing but fsync is wrong; to limit says nothing.
EMPTY_WHEN_WELL = ("pg_blocking_pids", "where not is_ok", "select chatsync.limit_rate(")


def of_id_42(worker: SyncConnection) -> None:
    """The message that the document speaks of: first of its key, its attempt failed."""
    worker.execute(
        "insert into chatsync.message_queue (id, queue, tenant_id, inbox_id, ordering_key,"
        " message_type, correlation_id, payload, status, scheduled_at, retry_count, last_error)"
        " overriding system value values (42, 'inbound', 'acme', null, '7', 'test', 'c', '{}',"
        " 'retrying', now() + interval '1 hour', 1, 'timed out')"
    )
    worker.execute(
        "update chatsync.lane_turns set ready_at = now() + interval '1 hour'"
        " where lane = 'inbound/acme/7'"
    )


def told_of_message_7(worker: SyncConnection, gateway: SyncConnection) -> None:
    """The message whose delivery the document looks up: ana's phone acknowledged it."""
    worker.execute(
        "select chatsync.publish('acme', '{tenant:acme}', 'message:new',"
        ' \'{"message": {"id": "7"}}\')'
    )
    worker.execute("select chatsync.stamp()")
    gateway.execute("select chatsync.take_device('acme', 'ana', 'phone', 's1', 7)")
    gateway.execute(
        "select chatsync.write_receipts(jsonb_build_array(jsonb_build_object('tenant', 'acme',"
        " 'user', 'ana', 'device', 'phone', 'session', 's1', 'isOpen', true, 'epoch', epoch,"
        " 'seq', head, 'topics', '{tenant:acme}'::text[])))"
        " from chatsync.stream_positions(array['acme'])"
    )


@pytest.fixture(scope="module")
def database(shared: Connections) -> Generator[SyncConnection]:
    """A connection to a database where everything went wrong that the document knows."""
    worker = shared.open("chatsync_worker")
    worker.execute("select chatsync.create_tenant('t1'), chatsync.create_tenant('acme')")
    inbox_id = create_inbox(worker)
    of_id_42(worker)
    worker.execute("select chatsync.pause('inbound', 'acme', p_inbox_id => %s)", [inbox_id])
    worker.execute(
        "select chatsync.limit_depth('inbound', 500000),"
        " chatsync.limit_in_flight('outbound', 20, 'inbox')"
    )
    correlation_id = str(re.findall(r"chatsync\.timeline\('([0-9a-f-]{36})'\)", TEXT)[0])
    held, worker_id = register(shared)
    enqueue(worker, "k", 1, p_correlation_id=correlation_id)
    settled = claim(held, worker_id)
    settle(held, settled, untouched=[settled[0].id], done=[])
    for error, age in (
        ("the upstream timed out", "1 minute"),
        ("killed its worker twice", "1 hour"),
        ("of last month", "40 days"),
    ):
        worker.execute(
            "insert into chatsync.failed_messages (queue, tenant_id, inbox_id, ordering_key,"
            " correlation_id, message_type, payload, error_message, failed_at)"
            " values ('inbound', 't1', %s, %s, 'c', 'standard', '{}', %s, now() - %s::interval)",
            [inbox_id, str(inbox_id), error, age],
        )
    worker.execute("update chatsync.message_queue set deaths = 1 where queue = 'outbound'")
    worker.execute(
        "insert into chatsync.failed_attempts (message_id, tenant_id, queue, correlation_id,"
        " attempt, worker, failed_at, outcome, error)"
        " values (42, 'acme', 'inbound', 'c', 1, 'host:7', now(), 'failed', 'timed out')"
    )
    worker.execute(
        "insert into chatsync.message_archive (id, queue, tenant_id, message_type, correlation_id,"
        " metadata, priority, retry_count, scheduled_at, created_at, done_at)"
        " values (1, 'outbound', 't1', 'test', 'c', '{}', 0, 1, now(), now(), now())"
    )
    told_of_message_7(worker, shared.open("chatsync_gateway", tenants="acme"))
    # Somebody forgot a transaction, with an event in it that nobody numbered.
    forgotten = shared.open("chatsync_worker")
    with forgotten.transaction():
        forgotten.execute("select pg_current_xact_id()")
        yield shared.open("chatsync_operator")


def test_the_document_has_a_query_in_each_section() -> None:
    assert len(SECTIONS) >= 11
    assert [name for name, part in SECTIONS.items() if "```sql" not in part] == []
    assert [name for name, part in SECTIONS.items() if "```console" not in part] == []


@pytest.mark.parametrize("name", BLOCKS)
def test_a_query_runs_and_finds_what_it_looks_for(database: SyncConnection, name: str) -> None:
    block = BLOCKS[name]
    with database.transaction(force_rollback=True):
        cursor = database.execute(cast(LiteralString, block))
        more = True
        while more:
            if cursor.description and not any(hint in block for hint in EMPTY_WHEN_WELL):
                found = cursor.fetchall()
                assert found
                assert found[0][0] not in (None, False, 0)
            more = cursor.nextset()


@pytest.mark.parametrize("line", sorted(set(COMMANDS)))
def test_a_command_is_one_that_there_is(line: str) -> None:
    words = shlex.split(line)
    command: click.Command = cli
    # With its settings: a command keeps the names of its help from the first time it is read.
    context = click.Context(cli, **cli.context_settings)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    # Its arguments and options are read, and nothing is run.
    command.make_context(command.name, words, parent=context)


def test_a_command_that_there_is_not_is_found() -> None:
    assert CliRunner().invoke(cli, ["queue", "revive"]).exit_code == 2
    with pytest.raises(AssertionError, match="revive"):
        test_a_command_is_one_that_there_is("queue revive --all")
    with pytest.raises(click.UsageError):
        test_a_command_is_one_that_there_is("queue redrive --everything")

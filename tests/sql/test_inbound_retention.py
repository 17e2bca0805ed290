"""What was applied is remembered for eight days, and what waits in vain is forgotten after them."""

import psycopg
import pytest

from chatsync.migrate import migrate
from chatsync.providers.inbound import Edit, Notice, Revoke, Status
from conftest import Connections, SyncConnection
from sql.queue_calls import count, value
from sql.stepping import Stepper
from sql.story import Story, at, said

NOW = "2026-01-05 10:00:00Z"


@pytest.fixture
def story(worker: SyncConnection, owner: SyncConnection, tenant: str) -> Story:
    """A story in January 2026, whose days are prepared."""
    assert tenant
    for connection in (worker, owner):
        connection.execute("select set_config('chatsync.now', %s, false)", [NOW])
    worker.execute("select chatsync.prepare_partitions()")
    return Story(worker)


def at_day(connection: SyncConnection, day: str) -> None:
    connection.execute("select set_config('chatsync.now', %s, false)", [f"{day} 10:00:00Z"])


def days(owner: SyncConnection) -> list[str]:
    rows = owner.execute(
        "select right(c.relname, 8) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'chatsync.processed_items'::regclass and c.relname ~ '\\d{8}$'"
        " order by 1"
    ).fetchall()
    return [str(row[0]) for row in rows]


def edited(number: int, day: float) -> Edit:
    return Edit(f"e{number}", "m", "new", at(day * 86400))


def places(owner: SyncConnection) -> dict[str, str]:
    rows = owner.execute(
        "select item_key, tableoid::regclass::text from chatsync.processed_items"
    ).fetchall()
    return {str(key): str(table).removeprefix("chatsync.processed_items_") for key, table in rows}


def test_a_migrated_database_has_the_days_that_items_may_be_of(
    owner: SyncConnection,
) -> None:
    expected = owner.execute(
        "select to_char(d, 'YYYYMMDD') from generate_series("
        "(now() at time zone 'UTC')::date - 8, (now() at time zone 'UTC')::date + 5,"
        " interval '1 day') as d"
    ).fetchall()
    assert [(day,) for day in days(owner)] == expected


def test_items_lie_in_the_partition_of_their_own_day_and_others_in_the_default(
    story: Story, owner: SyncConnection
) -> None:
    story.tell(said("m"), *(edited(n, n) for n in (-10, -5, -4, 0, 4, 9, 10)))
    assert places(owner) == {
        "edit:e-10": "default",
        "edit:e-5": "default",
        "edit:e-4": "20251228",
        "edit:e0": "20260101",
        "edit:e4": "20260105",
        "edit:e9": "20260110",
        "edit:e10": "default",
    }


def test_what_came_for_a_day_without_a_partition_is_moved_when_it_has_one(
    story: Story, owner: SyncConnection
) -> None:
    story.tell(said("m"), edited(1, 10), edited(2, 11))
    at_day(story.connection, "2026-01-06")
    story.connection.execute("select chatsync.prepare_partitions()")

    assert places(owner) == {"edit:e1": "20260111", "edit:e2": "default"}
    assert story.tell(edited(1, 10), edited(2, 11)) == []


def test_a_day_begins_at_midnight_in_utc_whatever_the_session_says(
    story: Story, owner: SyncConnection
) -> None:
    for connection in (story.connection, owner):
        connection.execute("set timezone = 'Pacific/Auckland'")
    at_day(story.connection, "2026-02-01")
    story.connection.execute("select chatsync.prepare_partitions()")
    story.tell(said("m"), Edit("late", "m", "new", at(31 * 86400 + 43199)))
    assert [day for day in days(owner) if day < "20260401"][-1] == "20260206"
    assert places(owner) == {"edit:late": "20260201"}


def test_days_that_no_provider_sends_again_are_dropped(story: Story, owner: SyncConnection) -> None:
    story.tell(said("m"), edited(1, -4), edited(2, -3))
    at_day(story.connection, "2026-01-06")
    assert value(story.connection, "select chatsync.drop_processed_items()") > 0

    assert min(days(owner)) == "20251229"
    assert places(owner) == {"edit:e2": "20251229"}
    assert value(story.connection, "select chatsync.drop_processed_items()") == 0


def test_what_lies_in_the_default_partition_goes_by_when_it_was_received(
    story: Story, owner: SyncConnection
) -> None:
    story.tell(said("m"), edited(1, -30))
    at_day(story.connection, "2026-01-10")
    story.tell(edited(2, -30))

    at_day(story.connection, "2026-01-13")
    assert value(story.connection, "select chatsync.forget_inbound()") == 0
    at_day(story.connection, "2026-01-14")
    assert value(story.connection, "select chatsync.forget_inbound()") == 1
    assert places(owner) == {"edit:e2": "default"}


def test_what_waited_in_vain_for_its_message_is_forgotten_after_eight_days(
    story: Story, owner: SyncConnection
) -> None:
    story.tell(Status("never", "SENT", at(0)))
    at_day(story.connection, "2026-01-10")
    story.tell(Status("soon", "SENT", at(0)), Revoke("r", "never", at(0)))

    at_day(story.connection, "2026-01-14")
    story.connection.execute("select chatsync.forget_inbound()")
    assert owner.execute(
        "select provider_message_id, item_key from chatsync.orphans order by 1"
    ).fetchall() == [("never", "revoke:r"), ("soon", "status:SENT")]


def test_notices_are_forgotten_after_ninety_days(story: Story, owner: SyncConnection) -> None:
    story.tell(Notice("n1", "account", "old", at(0)))
    at_day(story.connection, "2026-01-06")
    story.tell(Notice("n2", "account", "new", at(0)))
    for day, left in (("2026-04-05", 2), ("2026-04-06", 1)):
        at_day(story.connection, day)
        story.connection.execute("select chatsync.forget_inbound()")
        assert count(owner, "inbox_notices") == left


def test_two_processes_may_prepare_the_days_of_items_at_once(
    connections: Connections, story: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    other = connections.open("chatsync_worker")
    for connection in (story.connection, other):
        at_day(connection, "2026-03-01")
    story.connection.execute("begin")
    story.connection.execute("select chatsync.prepare_partitions()")
    running = stepper.start_and_wait(other, "select chatsync.prepare_partitions()")
    story.connection.execute("commit")

    running.result()
    assert "20260306" in days(owner)


def test_days_are_prepared_for_the_log_even_while_those_of_items_cannot_be(
    connections: Connections, story: Story, owner: SyncConnection
) -> None:
    holder = connections.open("chatsync_owner")
    with holder.transaction():
        holder.execute("lock table chatsync.processed_items_default in row exclusive mode")
        at_day(story.connection, "2026-03-01")
        story.connection.execute("select chatsync.prepare_partitions()")
    assert value(owner, "select to_regclass('chatsync.event_log_20260306') is not null")
    assert "20260306" not in days(owner)

    story.connection.execute("select chatsync.prepare_partitions()")
    assert "20260306" in days(owner)


def test_what_comes_for_a_day_while_it_is_prepared_is_waited_for_and_moved(
    connections: Connections, story: Story, owner: SyncConnection, stepper: Stepper
) -> None:
    other = connections.open("chatsync_worker")
    applying = Story(other, story.inbox_id)
    at_day(story.connection, "2026-01-06")
    other.execute("begin")
    applying.tell(said("m"), edited(1, 10))
    running = stepper.start_and_wait(story.connection, "select chatsync.prepare_partitions()")
    other.execute("commit")

    running.result()
    assert places(owner) == {"edit:e1": "20260111"}


def test_dropping_days_gives_up_soon_when_a_batch_is_being_applied(
    connections: Connections, story: Story, owner: SyncConnection
) -> None:
    at_day(story.connection, "2026-01-09")
    other = connections.open("chatsync_worker")
    applying = Story(other, story.inbox_id)
    with other.transaction():
        applying.tell(said("m"), edited(1, -3))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            story.connection.execute("select chatsync.drop_processed_items()")
    assert value(story.connection, "select chatsync.drop_processed_items()") > 0


def test_a_worker_cannot_delete_what_was_processed_by_itself(worker: SyncConnection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("delete from chatsync.processed_items")


def test_migrating_again_prepares_what_is_missing(owner: SyncConnection, database_url: str) -> None:
    before = days(owner)
    owner.execute(f"drop table chatsync.processed_items_{before[3]}".encode())
    migrate(database_url)
    assert days(owner) == before


def test_statistics_are_made_for_tables_that_grew_and_for_no_others(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("select chatsync.create_tenant('t1')")
    worker.execute("select chatsync.refresh_statistics()")
    assert value(worker, "select chatsync.refresh_statistics()") == 0
    owner.execute(
        "insert into chatsync.contacts (tenant_id, name)"
        " select 't1', 'n' || n from generate_series(1, 3000) as n"
    )
    assert value(worker, "select chatsync.refresh_statistics()") == 1
    assert (
        value(owner, "select reltuples from pg_class where oid = 'chatsync.contacts'::regclass")
        == 3000
    )
    assert value(worker, "select chatsync.refresh_statistics()") == 0


def test_statistics_wait_for_nobody_and_keep_what_they_learned(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("select chatsync.create_tenant('t1')")
    holder = connections.open("chatsync_owner")
    for table in ("contacts", "conversations"):
        owner.execute(f"alter table chatsync.{table} set (autovacuum_enabled = off)".encode())
    owner.execute(
        "insert into chatsync.contacts (tenant_id, contact_id, name)"
        " select 't1', n, 'n' || n from generate_series(1, 3000) as n"
    )
    inbox = value(owner, "select chatsync.create_inbox('t1', 'evolution', 'x')")
    owner.execute(
        "insert into chatsync.conversations (tenant_id, inbox_id, contact_id)"
        " select 't1', %s, n from generate_series(1, 3000) as n",
        [inbox],
    )
    with holder.transaction():
        holder.execute("lock table chatsync.conversations in share row exclusive mode")
        assert value(worker, "select chatsync.refresh_statistics()") >= 1
    # Row-level security hides pg_stats; a planner that knows the names expects one of them.
    plan = value(owner, "explain (format json) select from chatsync.contacts where name = 'n7'")
    assert plan[0]["Plan"]["Plan Rows"] == 1
    assert value(worker, "select chatsync.refresh_statistics()") == 1

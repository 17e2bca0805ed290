"""The log's days: made ahead, trimmed, dropped."""

from collections.abc import Sequence

import psycopg
import pytest
from psycopg import sql

from chatsync.migrate import migrate
from conftest import Connections, SyncConnection
from sql.log_calls import publish, read, stamp
from sql.queue_calls import count, value
from sql.stepping import Stepper

TODAY = "(statement_timestamp() at time zone 'UTC')::date"


@pytest.fixture(autouse=True)
def tenants(worker: SyncConnection) -> None:
    for tenant in ("t1", "t2"):
        worker.execute("select chatsync.create_tenant(%s)", [tenant])


def days(owner: SyncConnection) -> list[int]:
    """The days that have partitions, counted from today."""
    rows = owner.execute(
        "select to_date(right(c.relname, 8), 'YYYYMMDD') - " + TODAY + " from pg_inherits i"
        " join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'chatsync.event_log'::regclass and c.relname ~ '\\d{8}$'"
        " order by c.relname"
    ).fetchall()
    return [int(str(row[0])) for row in rows]


def drop_days(owner: SyncConnection, which: Sequence[int]) -> None:
    for day in which:
        name = value(owner, "select 'event_log_' || to_char(" + TODAY + " + %s, 'YYYYMMDD')", [day])
        owner.execute(sql.SQL("drop table {}").format(sql.Identifier("chatsync", name)))


def age(owner: SyncConnection, tenant: str, upto: int, by_days: int) -> None:
    """Pretend that the events up to a number were stamped days ago, in partitions of their days."""
    owner.execute(
        "select set_config('chatsync.now', (now() - make_interval(days => %s))::text, false)",
        [by_days],
    )
    owner.execute("select chatsync.prepare_partitions(0)")
    owner.execute("reset chatsync.now")
    owner.execute(
        "update chatsync.event_log set stamped_at = stamped_at - make_interval(days => %s)"
        " where tenant_id = %s and seq <= %s",
        [by_days, tenant, upto],
    )


def before(owner: SyncConnection, days_ago: int) -> object:
    return value(owner, "select " + TODAY + " - %s", [days_ago])


def test_a_migrated_database_has_partitions_for_today_and_days_ahead(owner: SyncConnection) -> None:
    assert days(owner) == [0, 1, 2, 3, 4, 5]
    publish(owner, "t1", 0)
    stamp(owner)
    assert count(owner, "event_log_default") == 0


def test_preparing_days_again_changes_nothing_and_adds_what_is_missing(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    worker.execute("select chatsync.prepare_partitions()")
    assert days(owner) == [0, 1, 2, 3, 4, 5]
    drop_days(owner, [2])
    worker.execute("select chatsync.prepare_partitions(7)")
    assert days(owner) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_days_begin_at_midnight_in_utc_whatever_the_session_says(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    drop_days(owner, range(6))
    worker.execute("set timezone = 'Pacific/Auckland'")
    worker.execute("select set_config('chatsync.now', '2030-01-01 23:30:00Z', false)")
    worker.execute("select chatsync.prepare_partitions(0)")

    owner.execute("set timezone = 'UTC'")
    bounds = value(
        owner,
        "select pg_get_expr(relpartbound, oid) from pg_class where relname = 'event_log_20300101'",
    )
    assert bounds == "FOR VALUES FROM ('2030-01-01 00:00:00+00') TO ('2030-01-02 00:00:00+00')"


def test_two_processes_may_prepare_the_same_days_at_once(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, stepper: Stepper
) -> None:
    drop_days(owner, range(6))
    other = connections.open("chatsync_worker")
    worker.execute("begin")
    worker.execute("select chatsync.prepare_partitions()")
    running = stepper.start_and_wait(other, "select chatsync.prepare_partitions()")
    worker.execute("commit")

    running.result()
    assert days(owner) == [0, 1, 2, 3, 4, 5]


def test_an_event_on_a_day_without_a_partition_is_stamped_and_read(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    drop_days(owner, range(6))
    publish(worker, "t1", 0)

    assert stamp(worker) == {"t1": 1}
    assert [event.seq for event in read(worker, {"t1": 0})] == [1]
    assert count(owner, "event_log_default") == 1


def test_days_can_be_prepared_after_events_came_without_one(
    worker: SyncConnection, owner: SyncConnection, database_url: str
) -> None:
    drop_days(owner, range(6))
    publish(worker, "t1", 0)
    stamp(worker)

    worker.execute("select chatsync.prepare_partitions()")
    migrate(database_url)

    assert days(owner)[-1] == 5
    assert [event.seq for event in read(worker, {"t1": 0})] == [1]


def test_trimming_tells_readers_before_the_events_are_gone(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    for number in range(6):
        publish(worker, "t1", number)
    publish(worker, "t2", 0)
    stamp(worker)
    age(owner, "t1", upto=2, by_days=9)

    worker.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])

    positions = worker.execute(
        "select tenant_id, head, trimmed_to from chatsync.stream_positions(%s) order by 1",
        [["t1", "t2"]],
    ).fetchall()
    assert positions == [("t1", 6, 2), ("t2", 1, 0)]
    assert [event.seq for event in read(worker, {"t1": 0})] == [1, 2, 3, 4, 5, 6]

    assert value(worker, "select chatsync.drop_partitions(%s)", [before(owner, 8)]) == 1
    assert [event.seq for event in read(worker, {"t1": 0, "t2": 0})] == [3, 4, 5, 6, 1]
    assert days(owner) == [0, 1, 2, 3, 4, 5]
    assert value(worker, "select chatsync.drop_partitions(%s)", [before(owner, 8)]) == 0


def test_what_was_trimmed_stays_trimmed(worker: SyncConnection, owner: SyncConnection) -> None:
    for number in range(3):
        publish(worker, "t1", number)
    stamp(worker)
    age(owner, "t1", upto=2, by_days=9)
    for _ in range(2):
        worker.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])
        worker.execute("select chatsync.drop_partitions(%s)", [before(owner, 8)])

    assert value(owner, "select trimmed_to from chatsync.streams where tenant_id = 't1'") == 2
    publish(worker, "t1", 3)
    assert stamp(worker) == {"t1": 4}


def test_old_events_without_a_partition_of_their_own_go_as_well(
    worker: SyncConnection, owner: SyncConnection
) -> None:
    for number in range(3):
        publish(worker, "t1", number)
    stamp(worker)
    owner.execute(
        "update chatsync.event_log set stamped_at = stamped_at - interval '9 days' where seq <= 2"
    )
    assert count(owner, "event_log_default") == 2

    worker.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])
    worker.execute("select chatsync.drop_partitions(%s)", [before(owner, 8)])

    assert [event.seq for event in read(worker, {"t1": 0})] == [3]


@pytest.mark.parametrize("statement", ["select chatsync.stamp()", "select chatsync.open_epochs()"])
def test_trimming_is_refused_while_the_stamping_lock_is_held(
    connections: Connections, worker: SyncConnection, owner: SyncConnection, statement: str
) -> None:
    holder = connections.open("chatsync_worker")
    holder.execute("begin")
    holder.execute(statement.encode())
    with pytest.raises(psycopg.DatabaseError) as caught:
        worker.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])
    assert caught.value.sqlstate == "CS004"

    holder.execute("commit")
    worker.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])


def test_a_stamp_finds_the_lock_taken_while_streams_are_trimmed(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    holder = connections.open("chatsync_worker")
    publish(worker, "t1", 0)
    with holder.transaction():
        holder.execute("select chatsync.trim_streams(%s)", [before(owner, 8)])
        assert stamp(worker) is None
    assert stamp(worker) == {"t1": 1}


def test_dropping_days_gives_up_soon_when_a_reader_is_in_the_way(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    publish(worker, "t1", 0)
    stamp(worker)
    age(owner, "t1", upto=1, by_days=9)
    reader = connections.open("chatsync_gateway", tenants="t1")
    with reader.transaction():
        assert read(reader, {"t1": 0})
        with pytest.raises(psycopg.errors.LockNotAvailable):
            worker.execute("select chatsync.drop_partitions(%s)", [before(owner, 8)])

    assert value(worker, "select chatsync.drop_partitions(%s)", [before(owner, 8)]) == 1


def test_preparing_days_gives_up_soon_when_a_reader_is_in_the_way(
    connections: Connections, worker: SyncConnection, owner: SyncConnection
) -> None:
    # It holds the stamping lock meanwhile, and readers queue behind its lock on the partition.
    drop_days(owner, [5])
    worker.execute("set statement_timeout = '4s'")
    reader = connections.open("chatsync_gateway", tenants="t1")
    with reader.transaction():
        read(reader, {"t1": 0})
        with pytest.raises(psycopg.errors.LockNotAvailable):
            worker.execute("select chatsync.prepare_partitions()")

    worker.execute("select chatsync.prepare_partitions()")
    assert days(owner)[-1] == 5


def test_days_that_are_there_are_prepared_again_whatever_readers_do(
    connections: Connections, worker: SyncConnection
) -> None:
    worker.execute("set lock_timeout = '100ms'")
    reader = connections.open("chatsync_gateway", tenants="t1")
    with reader.transaction():
        read(reader, {"t1": 0})
        worker.execute("select chatsync.prepare_partitions()")

"""While a stamper is on duty foreign writers are silent, and no event is left behind by that."""

from collections.abc import Callable

import pytest

from conftest import Connections, SyncConnection
from service.harness import wait_for
from sql.log_calls import publish, stamp
from sql.queue_calls import value

PATIENCE_SECONDS = 10.0


@pytest.fixture
def writer(connections: Connections) -> SyncConnection:
    writer = connections.open("chatsync_worker")
    writer.execute("reset chatsync.doorbell")
    writer.execute("select chatsync.create_tenant('t1')")
    return writer


@pytest.fixture
def stamper(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_gateway")


@pytest.fixture
def heard(connections: Connections) -> Callable[[], list[str]]:
    """What was rung since it was asked last."""
    listener = connections.open("chatsync_gateway")
    ringer = connections.open("chatsync_gateway")
    listener.execute("listen chatsync")

    def ask() -> list[str]:
        # What was rung before this came before it.
        ringer.execute("notify chatsync, 'end'")
        payloads: list[str] = []
        while "end" not in payloads:
            payloads += [
                notify.payload
                for notify in listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)
            ]
        return payloads[:-1]

    return ask


def begin(connection: SyncConnection) -> bool:
    return value(connection, "select chatsync.begin_duty()")


def end(connection: SyncConnection) -> None:
    connection.execute("select chatsync.end_duty()")


def is_awaited(connection: SyncConnection) -> bool:
    """Whether somebody may still commit without ringing."""
    return value(connection, "select chatsync.silent_writers()")


def test_writers_are_silent_while_somebody_is_on_duty_and_ring_again_afterwards(
    writer: SyncConnection, stamper: SyncConnection, heard: Callable[[], list[str]]
) -> None:
    publish(writer, "t1", 0)
    assert heard() == ['{"outbox":true}']
    assert begin(stamper)
    publish(writer, "t1", 1)
    assert heard() == []
    end(stamper)
    publish(writer, "t1", 2)
    assert heard() == ['{"outbox":true}']


def test_a_silent_writer_is_waited_for(
    connections: Connections, writer: SyncConnection, stamper: SyncConnection
) -> None:
    asker = connections.open("chatsync_worker")
    begin(stamper)
    with writer.transaction():
        publish(writer, "t1", 0)
        end(stamper)
        assert is_awaited(stamper)
        assert not stamp(asker)
    assert not is_awaited(stamper)
    assert stamp(asker) == {"t1": 1}


def test_who_writes_after_the_question_rings(
    writer: SyncConnection, stamper: SyncConnection, heard: Callable[[], list[str]]
) -> None:
    begin(stamper)
    end(stamper)
    assert not is_awaited(stamper)
    with writer.transaction():
        publish(writer, "t1", 0)
        # Asked for nothing: it is going to ring.
        assert is_awaited(stamper)
    assert heard() == ['{"outbox":true}']


def test_a_silent_transaction_that_is_undone_is_not_waited_for(
    writer: SyncConnection, stamper: SyncConnection
) -> None:
    begin(stamper)
    writer.execute("begin")
    publish(writer, "t1", 0)
    end(stamper)
    writer.execute("rollback")
    assert not is_awaited(stamper)


def test_one_is_on_duty_at_a_time(
    connections: Connections, writer: SyncConnection, stamper: SyncConnection
) -> None:
    other = connections.open("chatsync_gateway")
    # An open transaction of a writer that rings keeps nobody from it.
    with writer.transaction():
        publish(writer, "t1", 0)
        assert begin(stamper)
    assert not begin(other)
    end(stamper)
    assert begin(other)


def test_writers_do_not_wait_for_each_other_nor_for_who_is_on_duty(
    connections: Connections, writer: SyncConnection, stamper: SyncConnection
) -> None:
    second = connections.open("chatsync_worker")
    second.execute("reset chatsync.doorbell")
    second.execute("set lock_timeout = '1ms'")
    begin(stamper)
    with writer.transaction():
        publish(writer, "t1", 0)
        with stamper.transaction():
            assert is_awaited(stamper)
            publish(second, "t1", 1)


def test_who_is_on_duty_and_falls_silent_is_put_off_it(
    connections: Connections, stamper: SyncConnection
) -> None:
    other = connections.open("chatsync_gateway")
    assert begin(stamper)
    assert wait_for(lambda: begin(other), "another one's duty")


def test_who_is_off_duty_may_be_silent_for_long(
    connections: Connections, stamper: SyncConnection
) -> None:
    begin(stamper)
    end(stamper)
    assert value(stamper, "select current_setting('idle_session_timeout')") == "0"

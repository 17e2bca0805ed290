"""What is known of one webhook, by its correlation id."""

import pytest

from conftest import Connections, SyncConnection
from sql.inbound_calls import apply, create_inbox, message, status
from sql.operator_calls import LATER, cancel, rows
from sql.queue_calls import claim, enqueue, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

TIMELINE = "select * from chatsync.timeline(%s)"
SET_NOW = "select set_config('chatsync.now', %s, false)"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def test_a_webhook_is_followed_from_the_queue_to_the_log(
    worker: SyncConnection, operator: SyncConnection
) -> None:
    inbox = create_inbox(worker)
    worker.execute("set chatsync.now = '2026-01-01T00:00:00Z'")
    worker.execute(
        "select chatsync.enqueue_deliveries(%s, array['c-m1', 'other'], array['x', 'y']::bytea[])",
        [[inbox, inbox]],
    )
    worker.execute("set chatsync.now = '2026-01-01T00:00:01Z'")
    apply(worker, message(inbox, "m1"))
    worker.execute("select chatsync.stamp()")

    told = rows(operator, TIMELINE, "c-m1")

    assert [(row.what, row.detail.get("type")) for row in told] == [
        ("enqueued", None),
        ("contact", None),
        ("conversation", None),
        ("message", "TEXT"),
        ("published", "conversation:new"),
        ("published", "message:new"),
        ("stamped", "conversation:new"),
        ("stamped", "message:new"),
    ]
    assert [row.at for row in told] == sorted(row.at for row in told)
    assert told[0].detail["queue"] == "inbound"
    assert told[1].detail["name"] == "Ann"
    assert told[3].detail["status"] == "DELIVERED"
    assert told[5].detail["messageId"] == told[3].detail["id"]
    assert told[7].detail["seq"] == 2


def test_events_that_have_no_number_yet_are_told(
    worker: SyncConnection, operator: SyncConnection
) -> None:
    inbox = create_inbox(worker)
    apply(worker, message(inbox, "m1", direction="OUTBOUND", origin="echo"))
    worker.execute("select chatsync.stamp()")
    apply(worker, status(inbox, "m1", "READ"))

    told = rows(operator, TIMELINE, "c-READ")

    assert [row.what for row in told] == ["contact", "conversation", "message", "published"]
    assert told[2].detail["status"] == "READ"


def test_attempts_and_dead_letters_are_told_in_order(
    connections: Connections, operator: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    connection.execute(SET_NOW, ["2026-01-01T00:00:00Z"])
    message_id = enqueue(connection, "a", 1, p_correlation_id="c")
    connection.execute(SET_NOW, ["2026-01-01T00:00:05Z"])
    settle(
        connection,
        claim(connection, worker_id),
        done=[],
        failed=[{"id": message_id, **LATER}],
    )

    told = rows(operator, TIMELINE, "c")
    assert [(row.what, row.at.hour, row.at.second) for row in told] == [
        ("enqueued", 0, 0),
        ("attempted", 0, 5),
        ("due", 1, 5),
    ]
    assert (told[1].detail["attempt"], told[1].detail["error"]) == (1, "busy")

    operator.execute(SET_NOW, ["2026-01-01T00:00:09Z"])
    cancel(operator, message_id, "given up")
    (_, dead) = rows(operator, TIMELINE, "c")
    assert (dead.what, dead.detail["error"]) == ("dead_lettered", "given up")
    assert (dead.detail["originalMessageId"], dead.detail["attempts"]) == (message_id, 1)

    operator.execute("select chatsync.redrive('outbound')")
    (_, again) = rows(operator, TIMELINE, "c")
    assert (again.what, again.detail["metadata"]["originalMessageId"]) == ("enqueued", message_id)


def test_events_of_other_programs_are_told_whatever_they_name(
    worker: SyncConnection, operator: SyncConnection
) -> None:
    for data in ('{"messageId": "abc", "conversation": {"id": "1e9"}}', "[]", '"x"'):
        worker.execute("select chatsync.publish('t1', array['x'], 'theirs', %s, 'c')", [data])

    told = rows(operator, TIMELINE, "c")

    assert [(row.what, row.detail["messageId"]) for row in told] == [("published", None)] * 3


def test_what_is_older_than_asked_for_is_left_out(
    worker: SyncConnection, operator: SyncConnection
) -> None:
    apply(worker, message(create_inbox(worker), "m1"))
    worker.execute("select chatsync.stamp()")
    since = "select count(*) from chatsync.timeline('c-m1', now() + %s::interval)"

    assert value(operator, since, ["-1 h"]) > 0
    assert value(operator, since, ["1 h"]) == 0


def test_an_unknown_correlation_id_has_no_timeline(operator: SyncConnection) -> None:
    assert rows(operator, TIMELINE, "nobody") == []

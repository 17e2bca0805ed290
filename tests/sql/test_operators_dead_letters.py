"""Dead letters: back into the queue as they were, or away for good."""

import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.inbound_calls import create_inbox
from sql.operator_calls import assert_no_lane_is_stranded, cancel, rows, waiting
from sql.queue_calls import claim, count, enqueue, labels, register, settle, value

pytestmark = pytest.mark.usefixtures("tenant")

REDRIVE = "select * from chatsync.redrive(%s)"


@pytest.fixture
def operator(connections: Connections) -> SyncConnection:
    return connections.open("chatsync_operator")


def dead(connection: SyncConnection) -> list[int]:
    return [
        row.id for row in rows(connection, "select id from chatsync.failed_messages order by 1")
    ]


def test_a_redriven_payload_is_the_message_that_it_was(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    named = {"p_priority": 7, "p_max_retries": 2, "p_correlation_id": "corr", "p_inbox_id": 5}
    first = enqueue(connection, "a", "x", **named, p_metadata=Jsonb({"trace": [1]}))
    (claimed,) = claim(connection, worker_id)
    failure: dict[str, object] = {"id": first, "error": "gone", "isPermanent": True}
    settle(connection, [claimed], done=[], failed=[failure])
    (failed_id,) = dead(owner)

    ((redriven_from, new_id),) = operator.execute(REDRIVE, ["outbound"]).fetchall()

    assert redriven_from == failed_id
    assert dead(owner) == []
    (again,) = claim(connection, worker_id)
    assert (again.id, again.payload, again.body) == (new_id, {"label": "x"}, None)
    assert (again.queue, again.tenant_id, again.inbox_id) == ("outbound", "t1", 5)
    assert (again.message_type, again.ordering_key) == ("test", "a")
    assert (again.correlation_id, again.priority, again.max_retries) == ("corr", 7, 2)
    assert again.retry_count == 1
    assert again.metadata == {
        "trace": [1],
        "originalMessageId": first,
        "redrivenFrom": failed_id,
        "failureCount": 1,
    }


def test_a_message_that_is_redriven_twice_still_names_the_first(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    first = enqueue(worker, "a", 1)
    new_id = first
    for _ in range(2):
        cancel(operator, new_id)
        ((_, new_id),) = operator.execute(REDRIVE, ["outbound"]).fetchall()
        assert isinstance(new_id, int)

    metadata = value(owner, "select metadata from chatsync.message_queue")
    assert metadata["originalMessageId"] == first


@pytest.mark.parametrize(
    "body", [b"\xff\x00\xfe", b'{"a":1}', b'{"a": 1}', b"", "ação 😀".encode(), None]
)
@pytest.mark.parametrize("payload", [{"a": 1}, None, "null", 1.50, [1e300, "\u00e9"]])
def test_what_is_redriven_comes_back_byte_for_byte(
    operator: SyncConnection, owner: SyncConnection, body: bytes | None, payload: object
) -> None:
    given = Jsonb(None) if payload == "null" else None if payload is None else Jsonb(payload)
    owner.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, payload, body)"
        " values ('q', 't1', 'x', 'c', %s, %s)",
        [given, body],
    )
    kept = "select payload::text, body from chatsync.message_queue"
    before = owner.execute(kept).fetchall()
    cancel(operator, waiting(owner, "q")[0])

    assert len(operator.execute(REDRIVE, ["q"]).fetchall()) == 1

    after = owner.execute(kept).fetchall()
    if body is not None and before[0][0] == body.decode(errors="replace"):
        # Both said the same: one of them is enough.
        assert after == [(before[0][0], None)]
    else:
        assert after == before


def test_a_delivery_comes_back_as_it_came_into_the_lane_of_its_inbox(
    connections: Connections, operator: SyncConnection, worker: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    inbox = create_inbox(worker)
    worker.execute(
        "select chatsync.enqueue_deliveries(%s, array['corr'], array[%b], array[%s::jsonb])",
        [[inbox], b"\xff{", Jsonb({"account_id": "7"})],
    )
    ((lease, message_id),) = connection.execute(
        "select lease_id, id from chatsync.claim('inbound', %s)", [worker_id]
    ).fetchall()
    failed = Jsonb([{"id": message_id, "error": "unreadable", "isPermanent": True}])
    connection.execute("select chatsync.settle(%s, '{}', %s)", [lease, failed])

    assert len(operator.execute(REDRIVE, ["inbound"]).fetchall()) == 1

    (again,) = rows(connection, "select * from chatsync.claim('inbound', %s)", worker_id)
    assert (again.body, again.payload) == (b"\xff{", None)
    assert (again.message_type, again.inbox_id) == ("whatsapp_cloud", inbox)
    assert (again.ordering_key, again.correlation_id) == (str(inbox), "corr")
    assert again.metadata["account_id"] == "7"


def test_a_delivery_that_the_gateway_rejected_goes_the_way_of_its_inbox(
    connections: Connections, operator: SyncConnection, worker: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    inbox = create_inbox(worker)
    worker.execute(
        "select chatsync.reject_delivery('t1', %s, 'corr', 'delivery', %b, %s, 'no JSON')",
        [inbox, b"\xff", Jsonb({"why": "not known"})],
    )

    assert len(operator.execute(REDRIVE, ["inbound"]).fetchall()) == 1

    (again,) = rows(connection, "select * from chatsync.claim('inbound', %s)", worker_id)
    assert (again.body, again.payload) == (b"\xff", None)
    assert (again.message_type, again.ordering_key) == ("whatsapp_cloud", str(inbox))


def test_what_nobody_can_process_stays_and_is_told(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    inbox = create_inbox(worker)
    item = {"tenant_id": "t1", "inbox_id": inbox, "correlation_id": "c", "item": {}, "reason": "x"}
    worker.execute("select chatsync.reject_items(%s)", [Jsonb([item])])
    for tenant, inbox_id in (("_unrouted", None), ("t1", None), ("t1", 999), ("t2", inbox)):
        worker.execute(
            "select chatsync.reject_delivery(%s, %s, 'c', 'delivery', 'x', null, 'bad')",
            [tenant, inbox_id],
        )
    notices: list[str | None] = []
    operator.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))

    assert operator.execute(REDRIVE, ["inbound"]).fetchall() == []

    assert len(dead(owner)) == 5
    assert notices == ["5 dead letters stay: nobody can process them"]


def test_what_can_be_redriven_is_not_held_up_by_what_cannot(
    operator: SyncConnection, worker: SyncConnection
) -> None:
    worker.execute(
        "select chatsync.reject_delivery('_unrouted', null, 'c', 'delivery', 'x', null, 'bad')"
    )
    cancel(operator, enqueue(worker, "a", 1))
    found = operator.execute("select * from chatsync.redrive(p_error_like => '%', p_limit => 1)")
    assert len(found.fetchall()) == 1


def test_redriven_messages_run_in_their_first_order_behind_what_waits(
    connections: Connections, operator: SyncConnection, owner: SyncConnection
) -> None:
    connection, worker_id = register(connections)
    ids = [enqueue(connection, key, f"{key}{n}") for n in range(3) for key in ("a", "b")]
    for message_id in (ids[4], ids[0], ids[2], ids[5], ids[3], ids[1]):
        cancel(operator, message_id)
    enqueue(connection, "a", "waiting")

    redriven = operator.execute(REDRIVE, ["outbound"]).fetchall()

    assert len(redriven) == 6
    claimed = labels(claim(connection, worker_id))
    assert [label for label in claimed if label[0] == "b"] == ["b0", "b1", "b2"]
    assert [label for label in claimed if label[0] != "b"] == ["waiting", "a0", "a1", "a2"]
    assert_no_lane_is_stranded(owner)


def test_a_limit_takes_the_first(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    ids = [enqueue(worker, "a", n) for n in range(3)]
    for message_id in reversed(ids):
        cancel(operator, message_id)

    operator.execute("select * from chatsync.redrive('outbound', p_limit => 2)")

    labels_left = rows(owner, "select summary ->> 'label' as label from chatsync.failed_messages")
    assert labels_left == [("2",)]


def test_a_dry_run_lists_and_changes_nothing(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    for number in range(2):
        cancel(operator, enqueue(worker, "a", number))
    before = dead(owner)

    found = operator.execute("select * from chatsync.redrive('outbound', p_dry_run => true)")

    assert found.fetchall() == [(id, None) for id in before]
    assert value(operator, "select chatsync.purge_dead_letters('outbound', p_dry_run => true)") == 2
    assert dead(owner) == before
    for table in ("message_queue", "queue_lanes", "lane_turns"):
        assert count(owner, table) == 0


@pytest.mark.parametrize("metadata", [[], [1], "text", None])
def test_metadata_of_any_kind_goes_along(
    operator: SyncConnection, owner: SyncConnection, metadata: object
) -> None:
    owner.execute(
        "insert into chatsync.message_queue"
        " (queue, tenant_id, message_type, correlation_id, metadata)"
        " values ('q', 't1', 'x', 'c', %s)",
        [Jsonb(metadata)],
    )
    cancel(operator, waiting(owner, "q")[0])

    ((redriven_from, _),) = operator.execute(REDRIVE, ["q"]).fetchall()

    kept = value(owner, "select metadata from chatsync.message_queue")
    assert (kept["metadata"], kept["redrivenFrom"]) == (metadata, redriven_from)


def test_a_redrive_that_is_undone_leaves_the_dead_letter(
    operator: SyncConnection, worker: SyncConnection, owner: SyncConnection
) -> None:
    cancel(operator, enqueue(worker, "a", 1))
    before = dead(owner)
    with operator.transaction(force_rollback=True):
        operator.execute(REDRIVE, ["outbound"])
    assert dead(owner) == before
    assert waiting(owner) == []

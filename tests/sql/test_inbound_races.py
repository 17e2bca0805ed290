"""Deliveries that are applied at the same moment, step by step."""

from collections.abc import Sequence
from typing import LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from conftest import Connections, SyncConnection
from sql.inbound_calls import (
    APPLY,
    apply,
    arguments,
    create_inbox,
    echo,
    events,
    message,
    person,
    status,
)
from sql.queue_calls import count, value
from sql.stepping import Stepper

IDENTITIES = [
    (["phone:1"], ["phone:1"]),
    (["phone:1", "bsuid:b"], ["bsuid:b", "phone:1"]),
    (["phone:1", "bsuid:b"], ["bsuid:b"]),
    (["phone:1"], ["phone:1", "bsuid:b"]),
    (["bsuid:b"], ["phone:1", "bsuid:b", "parent_bsuid:p"]),
]


@pytest.fixture
def inbox(worker: SyncConnection, tenant: str) -> int:
    assert tenant
    return create_inbox(worker)


@pytest.mark.parametrize(("first", "second"), IDENTITIES, ids=str)
def test_a_new_contact_that_writes_to_two_inboxes_at_once_is_one_when_the_later_runs_again(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
    first: list[str],
    second: list[str],
) -> None:
    other_inbox = create_inbox(worker, "200")
    other = connections.open("chatsync_worker")
    other.execute("begin")
    apply(other, message(inbox, "m1"), people=[person(0, *first)])
    applying = stepper.start_and_wait(
        worker, APPLY, arguments([message(other_inbox, "m2")], [person(0, *second)])
    )
    other.execute("commit")
    with pytest.raises(psycopg.errors.SerializationFailure):
        applying.result()
    apply(worker, message(other_inbox, "m2"), people=[person(0, *second)])

    assert value(owner, "select count(distinct contact_id) from chatsync.conversations") == 1
    assert value(owner, "select count(distinct contact_id) from chatsync.contact_identities") == 1
    assert count(owner, "contacts") == 1
    assert count(owner, "conversations") == count(owner, "messages") == 2


def test_a_contact_whose_other_delivery_is_undone_is_made_all_the_same(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
) -> None:
    other = connections.open("chatsync_worker")
    other.execute("begin")
    apply(other, message(inbox, "m1"))
    applying = stepper.start_and_wait(worker, APPLY, arguments([message(inbox, "m2")]))
    other.execute("rollback")
    applying.result()

    assert count(owner, "contacts") == count(owner, "messages") == 1


def test_a_message_that_is_applied_twice_at_once_is_one_message(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
) -> None:
    apply(worker, message(inbox, "m0"))
    other = connections.open("chatsync_worker")
    other.execute("begin")
    apply(other, message(inbox, "m1"))
    applying = stepper.start_and_wait(worker, APPLY, arguments([message(inbox, "m1")]))
    other.execute("commit")
    applying.result()

    assert count(owner, "messages") == 2
    assert value(owner, "select unread_count from chatsync.conversations") == 2
    assert [kind for kind, _ in events(owner)][2:] == ["message:new", "conversation:updated"]


def test_events_of_a_conversation_are_published_in_the_order_of_its_versions(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
) -> None:
    apply(worker, message(inbox, "m0"))
    other = connections.open("chatsync_worker")
    other.execute("begin")
    apply(other, message(inbox, "m1"))
    applying = stepper.start_and_wait(worker, APPLY, arguments([message(inbox, "m2")]))
    other.execute("commit")
    applying.result()

    updates = [data for kind, data in events(owner) if kind == "conversation:updated"]
    # The first message made version 1 and touched it.
    assert [data["conversation"]["version"] for data in updates] == [3, 4]
    assert [data["updates"]["unreadCount"] for data in updates] == [2, 3]
    assert [data["updates"]["lastMessage"]["content"] for data in updates] == ["m1", "m2"]


@pytest.mark.parametrize(("hours", "expected"), [(0, 2), (24, 1)])
def test_a_conversation_that_is_being_resolved_is_waited_for_and_then_reopened_or_left(
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
    hours: int,
    expected: int,
) -> None:
    worker.execute("select chatsync.set_reopen_hours(%s, %s)", [inbox, hours])
    apply(worker, message(inbox, "m1"))
    owner.execute("begin")
    owner.execute("update chatsync.conversations set status = 'RESOLVED', version = version + 1")
    applying = stepper.start_and_wait(worker, APPLY, arguments([message(inbox, "m2")]))
    owner.execute("commit")
    applying.result()

    rows = owner.execute(
        "select conversation_id, status, unread_count from chatsync.conversations order by 1"
    ).fetchall()
    assert len(rows) == expected
    assert [status for _, status, _ in rows] == ["RESOLVED", "OPEN"][-expected:]
    assert (
        value(owner, "select conversation_id from chatsync.messages where content = 'm2'")
        == max(rows)[0]
    )


@pytest.mark.parametrize("is_status_first", [True, False])
def test_a_status_and_its_message_at_the_same_moment_find_each_other(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
    is_status_first: bool,
) -> None:
    first, second = status(inbox, "e1", "READ"), echo(inbox, "e1")
    if not is_status_first:
        first, second = second, first
    other = connections.open("chatsync_worker")
    other.execute("begin")
    apply(other, first)
    applying = stepper.start_and_wait(worker, APPLY, arguments([second]))
    other.execute("commit")
    applying.result()

    assert value(owner, "select status from chatsync.messages") == "READ"
    assert count(owner, "orphans") == 0


LOCKS: dict[str, LiteralString] = {
    "conversations": "select from chatsync.conversations where conversation_id ="
    " (select max(conversation_id) from chatsync.conversations) for update",
    "contacts": "select from chatsync.contacts where contact_id ="
    " (select max(contact_id) from chatsync.contacts) for update",
}


@pytest.mark.parametrize("table", LOCKS)
def test_rows_are_locked_by_id_and_not_in_the_order_of_the_items(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
    table: str,
) -> None:
    # While the last row is held, who took the rows in the order of its items would wait for it
    # without the others, and deadlock with who took them the other way round.
    def batch(label: str, order: Sequence[int]) -> list[Jsonb]:
        name = f"Renamed {label}" if table == "contacts" else "Ann"
        return arguments(
            [message(inbox, f"{label}{key}", contact_key=key) for key in range(len(order))],
            [
                person(key, f"phone:{who}", name=name, namedAt=f"2026-01-01T12:00:0{len(label)}Z")
                for key, who in enumerate(order)
            ],
        )

    worker.execute(APPLY, batch("", range(3)))
    owner.execute("begin")
    owner.execute(LOCKS[table])
    other = connections.open("chatsync_worker")
    waiting = [
        stepper.start_and_wait(worker, APPLY, batch("down", [2, 1, 0])),
        stepper.start_and_wait(other, APPLY, batch("up", [0, 1, 2])),
    ]
    owner.execute("commit")
    for applying in waiting:
        applying.result()

    assert count(owner, "messages") == 9
    assert count(owner, "conversations") == 3


@pytest.mark.parametrize("held", ["e0", "e1", "e2"])
def test_provider_ids_are_held_in_one_order_whatever_that_of_the_items(
    connections: Connections,
    worker: SyncConnection,
    owner: SyncConnection,
    stepper: Stepper,
    inbox: int,
    held: str,
) -> None:
    names = ["e0", "e1", "e2"]
    apply(worker, *(echo(inbox, name) for name in names))
    holder, other = connections.open("chatsync_worker"), connections.open("chatsync_worker")
    holder.execute("begin")
    apply(holder, status(inbox, held, "SENT"))
    waiting = [
        stepper.start_and_wait(
            connection, APPLY, arguments([status(inbox, name, "READ") for name in order])
        )
        for connection, order in ((worker, names), (other, names[::-1]))
    ]
    holder.execute("commit")
    for applying in waiting:
        applying.result()

    assert value(owner, "select count(*) from chatsync.messages where status = 'READ'") == 3
